//! Resolves paths to defining modules, through imports and re-exports.

use super::modules::{ModuleId, Tree};

/// What a name refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Module(ModuleId),
    /// Anything but a module, in its defining module.
    Item(ModuleId),
}

/// The modules that define what `path` refers to in `module`. None for items of other crates; several if `cfg` decides or a
/// name is both a type and a function.
pub(super) fn definers(tree: &Tree, module: ModuleId, path: &[String]) -> Vec<ModuleId> {
    let targets = Resolver { tree, pending: Vec::new() }.resolve(module, path);
    let mut ids: Vec<ModuleId> =
        targets.into_iter().map(|(Target::Module(id) | Target::Item(id))| id).collect();
    ids.dedup();
    ids
}

struct Resolver<'a> {
    tree: &'a Tree,
    /// Names being looked up, since `use a::a` would recurse.
    pending: Vec<(ModuleId, String)>,
}

impl Resolver<'_> {
    fn resolve(&mut self, module: ModuleId, path: &[String]) -> Vec<Target> {
        let Some((first, rest)) = path.split_first() else { return vec![Target::Module(module)] };
        let parent = self.tree.module(module).parent.map(Target::Module);
        let mut targets = match first.as_str() {
            "crate" => vec![Target::Module(Tree::ROOT)],
            "self" => vec![Target::Module(module)],
            "super" => parent.into_iter().collect(),
            name => self.look_up(module, name),
        };
        for name in rest {
            targets = targets.into_iter().flat_map(|target| self.member(target, name)).collect();
        }
        targets
    }

    /// What `name` refers to inside `target`. A variant or associated function belongs to its type. An unknown name comes
    /// from a macro or another crate: the module that provides it counts.
    fn member(&mut self, target: Target, name: &str) -> Vec<Target> {
        let Target::Module(module) = target else { return vec![target] };
        let found = match name {
            "self" => return vec![target],
            "super" => self.tree.module(module).parent.map(Target::Module).into_iter().collect(),
            name => self.look_up(module, name),
        };
        if found.is_empty() { vec![Target::Item(module)] } else { found }
    }

    /// What `name` refers to in the scope of `module`. As in the language, explicit names take precedence over globs.
    fn look_up(&mut self, module: ModuleId, name: &str) -> Vec<Target> {
        let key = (module, name.to_owned());
        if self.pending.contains(&key) {
            return Vec::new();
        }
        self.pending.push(key);
        let mut found = self.named(module, name);
        if found.is_empty() {
            found = self.through_globs(module, name);
        }
        self.pending.pop();
        found
    }

    fn named(&mut self, module: ModuleId, name: &str) -> Vec<Target> {
        let tree = self.tree;
        let mut found: Vec<Target> = tree.children(module, name).map(Target::Module).collect();
        if tree.module(module).items.contains(name) {
            found.push(Target::Item(module));
        }
        for import in &tree.module(module).imports {
            if import.name.as_deref() == Some(name) {
                found.extend(self.resolve(module, &import.path));
            }
        }
        found
    }

    fn through_globs(&mut self, module: ModuleId, name: &str) -> Vec<Target> {
        let tree = self.tree;
        let mut found = Vec::new();
        for glob in tree.module(module).imports.iter().filter(|import| import.name.is_none()) {
            for target in self.resolve(module, &glob.path) {
                if let Target::Module(source) = target {
                    found.extend(self.look_up(source, name));
                }
            }
        }
        found
    }
}
