//! A crate's module tree: files, inline modules and `#[path]` modules, excluding tests.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Attribute, Expr, ExprLit, Item, Lit, Meta};

use super::super::SourceFile;
use super::paths::{self, Import, Mention};

/// A module, as an index into its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ModuleId(usize);

/// The properties of a module needed by the rule.
pub(super) struct Module {
    pub(super) name: String,
    /// Its file, relative to the repository root.
    pub(super) file: String,
    pub(super) parent: Option<ModuleId>,
    pub(super) children: Vec<ModuleId>,
    /// Names it defines, except modules.
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    pub(super) mentions: Vec<Mention>,
}

/// The modules of one crate; the first is its root.
pub(super) struct Tree {
    modules: Vec<Module>,
}

impl Tree {
    pub(super) const ROOT: ModuleId = ModuleId(0);

    pub(super) fn ids(&self) -> impl Iterator<Item = ModuleId> {
        (0..self.modules.len()).map(ModuleId)
    }

    pub(super) fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    /// Children of `parent` named `name`: more than one if `cfg` selects between files.
    pub(super) fn children(&self, parent: ModuleId, name: &str) -> impl Iterator<Item = ModuleId> {
        self.module(parent).children.iter().copied().filter(move |&child| self.module(child).name == name)
    }

    /// `crate::a::b`.
    pub(super) fn path(&self, id: ModuleId) -> String {
        let names: Vec<&str> = self.lineage(id).iter().map(|&id| self.module(id).name.as_str()).collect();
        names.join("::")
    }

    /// The lowest common ancestor of two modules, and its children towards each. `None` if one is an ancestor of the other.
    pub(super) fn fork(&self, a: ModuleId, b: ModuleId) -> Option<(ModuleId, ModuleId, ModuleId)> {
        let to_a = self.lineage(a);
        let to_b = self.lineage(b);
        let n_shared = to_a.iter().zip(&to_b).take_while(|(x, y)| x == y).count();
        Some((to_a[n_shared - 1], *to_a.get(n_shared)?, *to_b.get(n_shared)?))
    }

    /// From the root to `id`.
    fn lineage(&self, id: ModuleId) -> Vec<ModuleId> {
        let mut lineage: Vec<ModuleId> =
            std::iter::successors(Some(id), |&id| self.module(id).parent).collect();
        lineage.reverse();
        lineage
    }
}

/// The trees of all crates in `files` with their root in a `src` folder.
pub(super) fn trees(files: &[SourceFile]) -> Vec<Tree> {
    let by_path: BTreeMap<&str, &SourceFile> = files.iter().map(|f| (f.path.as_str(), f)).collect();
    let is_root = |path: &str| {
        let Some((_, module)) = path.split_once("src/") else { return false };
        let is_program = module.strip_prefix("bin/").is_some_and(|name| !name.contains('/'));
        path.ends_with(".rs") && (matches!(module, "lib.rs" | "main.rs") || is_program)
    };
    let roots = files.iter().filter(|file| is_root(&file.path));
    roots
        .map(|root| {
            let mut builder = Builder { files: &by_path, tree: Tree { modules: Vec::new() } };
            builder.add_file("crate", None, root, folder_of(&root.path));
            builder.tree
        })
        .collect()
}

struct Builder<'a> {
    files: &'a BTreeMap<&'a str, &'a SourceFile>,
    tree: Tree,
}

impl Builder<'_> {
    /// Adds a file's module and everything below it. Its children's files are in `folder`.
    fn add_file(&mut self, name: &str, parent: Option<ModuleId>, file: &SourceFile, folder: &str) {
        // Files that do not parse do not compile, which other checks report.
        let Ok(syntax) = syn::parse_file(&file.text) else { return };
        self.add(name, parent, &file.path, folder, &syntax.items);
    }

    fn add(&mut self, name: &str, parent: Option<ModuleId>, file: &str, folder: &str, items: &[Item]) {
        let id = ModuleId(self.tree.modules.len());
        if let Some(parent) = parent {
            self.tree.modules[parent.0].children.push(id);
        }
        let found = paths::collect(items);
        self.tree.modules.push(Module {
            name: name.to_owned(),
            file: file.to_owned(),
            parent,
            children: Vec::new(),
            items: found.items,
            imports: found.imports,
            mentions: found.mentions,
        });
        for item in items {
            let Item::Mod(module) = item else { continue };
            if paths::is_test(&module.attrs) {
                continue;
            }
            let name = paths::plain(&module.ident);
            let inner = format!("{folder}/{name}");
            match &module.content {
                Some((_, items)) => self.add(&name, Some(id), file, &inner, items),
                None => self.add_declared(&name, id, &module.attrs, file, &inner),
            }
        }
    }

    /// Adds a module declared in `file` that has its own file.
    fn add_declared(&mut self, name: &str, parent: ModuleId, attrs: &[Attribute], file: &str, folder: &str) {
        let path = match path_attribute(attrs) {
            Some(path) => format!("{}/{path}", folder_of(file)),
            None => format!("{folder}.rs"),
        };
        let Some(file) = self.files.get(path.as_str()).filter(|file| !file.is_test()) else { return };
        self.add_file(name, Some(parent), file, path.trim_end_matches(".rs"));
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The value of `#[path = "…"]`.
fn path_attribute(attrs: &[Attribute]) -> Option<String> {
    attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    })
}
