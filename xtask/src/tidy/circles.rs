//! No import cycles: at every level of a crate's module tree, siblings form an acyclic graph.
//!
//! A sibling represents its whole subtree. There is an edge from one to another if code in the first names something
//! defined in the second:
//!
//! ```text
//! crate ─┬─ plan ── op          plan ──► ops        `use crate::ops::Linear` in plan/op.rs
//!        └─ ops  ── linear      ops  ──► plan       `super::super::plan::Op` in ops/linear.rs: a circle
//! ```
//!
//! A re-export is not a definition: `use super::Foo` is an edge to the sibling that defines `Foo`, and no edge if the
//! parent itself does. Parent and child may name each other, since a parent that hides its children has to. Without cycles
//! a crate's modules can be read, tested and moved one at a time. Tests are exempt.
//!
//! Names are resolved as far as syntax allows: `use`, paths, and paths in macro tokens. Methods are not followed: whoever
//! has a value of a type got it from code that names the type.

mod cycles;
mod modules;
mod names;
mod paths;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::cycles::{cycles_to_cut, steps};
use self::modules::{ModuleId, Tree};
use self::names::definers;
use super::{Finding, SourceFile};

/// A dependency of one sibling on another: one example, and the number of occurrences.
struct Edge {
    file: String,
    line: usize,
    path: String,
    n_uses: usize,
}

/// The edges between the children of one module.
type Edges = BTreeMap<(ModuleId, ModuleId), Edge>;

/// Checks every crate among `files`.
pub(super) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    for tree in modules::trees(files) {
        for (parent, edges) in edges_by_parent(&tree) {
            let weights = edges.iter().map(|(&edge, Edge { n_uses, .. })| (edge, *n_uses)).collect();
            for cycle in cycles_to_cut(weights) {
                findings.push(describe(&tree, parent, &edges, &cycle));
            }
        }
    }
}

fn edges_by_parent(tree: &Tree) -> BTreeMap<ModuleId, Edges> {
    let mut by_parent: BTreeMap<ModuleId, Edges> = BTreeMap::new();
    for user in tree.ids() {
        for mention in &tree.module(user).mentions {
            for definer in definers(tree, user, &mention.path) {
                let Some((parent, from, to)) = tree.fork(user, definer) else { continue };
                let edge = by_parent.entry(parent).or_default().entry((from, to)).or_insert_with(|| Edge {
                    file: tree.module(user).file.clone(),
                    line: mention.line,
                    path: mention.path.join("::"),
                    n_uses: 0,
                });
                edge.n_uses += 1;
            }
        }
    }
    by_parent
}

/// A finding at the first edge of `cycle`, with an example for each edge.
fn describe(tree: &Tree, parent: ModuleId, edges: &Edges, cycle: &[ModuleId]) -> Finding {
    let name = |id: ModuleId| tree.module(id).name.as_str();
    let names: Vec<&str> = cycle.iter().chain(&cycle[..1]).map(|&id| name(id)).collect();
    let mut what = format!("import circle in {}: {}", tree.path(parent), names.join(" -> "));
    for (from, to) in steps(cycle) {
        let Edge { file, line, path, n_uses } = &edges[&(from, to)];
        what.push_str(&format!("\n    {} -> {}, {n_uses}x: {file}:{line}: {path}", name(from), name(to)));
    }
    let first = &edges[&(cycle[0], cycle[1])];
    Finding { path: first.file.clone(), line: first.line, what }
}
