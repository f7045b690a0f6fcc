//! Cycles of a small directed graph.

use std::collections::{BTreeMap, VecDeque};

/// A set of cycles, short ones first, such that cutting each at its lightest edge makes the graph acyclic. `edges` maps
/// pairs of nodes to weights. A cycle begins with its smallest node.
///
/// Listing all cycles would be unreadable, and listing only one would hide the rest.
pub(super) fn cycles_to_cut<N: Copy + Ord>(mut edges: BTreeMap<(N, N), usize>) -> Vec<Vec<N>> {
    let mut cycles = Vec::new();
    while let Some(cycle) = shortest_cycle(&edges) {
        let lightest = steps(&cycle).min_by_key(|step| edges[step]);
        edges.retain(|&edge, _| Some(edge) != lightest);
        cycles.push(cycle);
    }
    cycles
}

/// The edges of a cycle, the closing one last.
pub(super) fn steps<N: Copy>(cycle: &[N]) -> impl Iterator<Item = (N, N)> {
    let successors = cycle.iter().cycle().skip(1);
    cycle.iter().copied().zip(successors.copied())
}

fn shortest_cycle<N: Copy + Ord>(edges: &BTreeMap<(N, N), usize>) -> Option<Vec<N>> {
    // Edges are sorted, and the first of several shortest cycles is the one that begins with the smallest node.
    edges.keys().filter_map(|&(from, to)| shortest_path(edges, to, from)).min_by_key(Vec::len).map(
        |mut cycle| {
            cycle.rotate_right(1);
            cycle
        },
    )
}

/// The nodes of a shortest path, including both ends, by breadth-first search.
fn shortest_path<N: Copy + Ord>(edges: &BTreeMap<(N, N), usize>, start: N, end: N) -> Option<Vec<N>> {
    let mut reached_from: BTreeMap<N, N> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        if node == end {
            let mut path = vec![end];
            while path[path.len() - 1] != start {
                path.push(reached_from[&path[path.len() - 1]]);
            }
            path.reverse();
            return Some(path);
        }
        for &(from, to) in edges.keys() {
            if from == node && to != start && !reached_from.contains_key(&to) {
                reached_from.insert(to, node);
                queue.push_back(to);
            }
        }
    }
    None
}
