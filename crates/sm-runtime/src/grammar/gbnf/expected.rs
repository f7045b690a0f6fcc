//! Which terminals may come next at the same place.
//!
//! Each occurrence of a terminal in the grammar is a state of an automaton, as in Glushkov's construction. Recursion is left out of
//! account: after a rule, whatever follows it anywhere may follow. That only adds pairs. Two occurrences are alive together
//! if the same lexemes lead to both.

use std::collections::{BTreeSet, HashSet};

use super::parser::Repeat;
use super::terminals::{Grammar, Node};

/// Maximum number of steps of the search; beyond it, any two terminals count as expected together.
const MAX_STEPS: usize = 2_000_000;

type Occurrences = BTreeSet<usize>;

/// The pairs of terminals that may be expected together; `None` if there are too many to look at. `share_texts` says whether
/// some text matches two terminals.
pub(super) fn together(
    grammar: &Grammar<'_>,
    share_texts: &mut dyn FnMut(usize, usize) -> bool,
) -> Option<HashSet<(usize, usize)>> {
    let automaton = Automaton::new(grammar);
    let start = automaton.rules[grammar.root].first.clone();
    let mut pairs = HashSet::new();
    let mut seen = HashSet::new();
    let mut waiting: Vec<(Occurrences, Occurrences)> = vec![(start.clone(), start)];
    let mut n_steps = 0;
    while let Some((nexts, others)) = waiting.pop() {
        for &a in &nexts {
            for &b in &others {
                n_steps += 1;
                let (of_a, of_b) = (automaton.terminals[a], automaton.terminals[b]);
                pairs.insert((of_a, of_b));
                pairs.insert((of_b, of_a));
                if !seen.contains(&(a, b)) && share_texts(of_a, of_b) {
                    seen.insert((a, b));
                    waiting.push((automaton.follow[a].clone(), automaton.follow[b].clone()));
                }
            }
        }
        if n_steps > MAX_STEPS {
            return None;
        }
    }
    Some(pairs)
}

/// The automaton of a grammar.
struct Automaton {
    /// The terminal of each occurrence.
    terminals: Vec<usize>,
    /// What may come after each occurrence.
    follow: Vec<Occurrences>,
    rules: Vec<Ends>,
}

/// The occurrences at the ends of what a node derives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ends {
    is_nullable: bool,
    first: Occurrences,
    last: Occurrences,
}

impl Automaton {
    fn new(grammar: &Grammar<'_>) -> Self {
        let mut automaton = Self {
            terminals: Vec::new(),
            follow: Vec::new(),
            rules: vec![Ends::default(); grammar.bodies.len()],
        };
        loop {
            let before = (automaton.rules.clone(), automaton.follow.clone());
            // Occurrences have the same numbers in each round.
            automaton.terminals.clear();
            for (index, body) in grammar.bodies.iter().enumerate() {
                if let Some(body) = body {
                    automaton.rules[index] = automaton.visit(grammar, body);
                }
            }
            if before == (automaton.rules.clone(), automaton.follow.clone()) {
                return automaton;
            }
        }
    }

    fn visit(&mut self, grammar: &Grammar<'_>, node: &Node) -> Ends {
        match node {
            Node::Terminal(terminal) => {
                let occurrence = self.terminals.len();
                self.terminals.push(*terminal);
                if self.follow.len() == occurrence {
                    self.follow.push(Occurrences::new());
                }
                let ends = Occurrences::from([occurrence]);
                let is_nullable = grammar.terminals[*terminal].is_nullable(grammar);
                Ends { is_nullable, first: ends.clone(), last: ends }
            }
            Node::Rule(index) => self.rules[*index].clone(),
            Node::Alt(nodes) => nodes.iter().fold(Ends::default(), |mut ends, node| {
                let each = self.visit(grammar, node);
                ends.is_nullable |= each.is_nullable;
                ends.first.extend(each.first);
                ends.last.extend(each.last);
                ends
            }),
            Node::Seq(nodes) => {
                let empty = Ends { is_nullable: true, ..Ends::default() };
                nodes.iter().fold(empty, |ends, node| {
                    let next = self.visit(grammar, node);
                    self.join(ends, next)
                })
            }
            Node::Repeat(node, Repeat { min, max }) => {
                let mut ends = self.visit(grammar, node);
                if *max != Some(1) {
                    ends.last.iter().for_each(|last| self.follow[*last].extend(&ends.first));
                }
                ends.is_nullable |= *min == 0;
                ends
            }
        }
    }

    /// One after the other.
    fn join(&mut self, ends: Ends, next: Ends) -> Ends {
        ends.last.iter().for_each(|last| self.follow[*last].extend(&next.first));
        let mut first = ends.first;
        if ends.is_nullable {
            first.extend(&next.first);
        }
        let mut last = next.last;
        if next.is_nullable {
            last.extend(ends.last);
        }
        Ends { is_nullable: ends.is_nullable && next.is_nullable, first, last }
    }
}
