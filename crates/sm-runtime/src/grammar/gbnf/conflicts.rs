//! Finds terminals after which the lexer's longest match may be wrong.
//!
//! The lexer runs all terminals that may come next side by side and goes on as long as one of them does. If a text completes terminal
//! `a`, and the next byte can both begin what follows `a` and continue terminal `b` on the same text, the lexer forgets `a`.

use std::collections::{HashMap, HashSet};

use derivre::{Regex, StateID};

use super::expected;
use super::parser::Repeat;
use super::terminals::{Grammar, Node};

/// Maximum number of pairs of states to look at for two terminals; beyond it they count as in conflict.
const MAX_PAIRS: usize = 10_000;

/// Maximum number of terminals; each two of them are compared.
const MAX_TERMINALS: usize = 1_000;

/// The terminals in conflict with another, or with themselves.
///
/// # Errors
/// If the expression of a terminal cannot be used.
pub(super) fn find(grammar: &Grammar<'_>, automata: &mut Automata) -> Result<Vec<usize>, String> {
    let used = grammar.used();
    if used.len() > MAX_TERMINALS {
        let n_terminals = used.len();
        return Err(format!(
            "it has {n_terminals} terminals, and at most {MAX_TERMINALS} are possible; write it in Lark"
        ));
    }
    automata.add(grammar, &used)?;
    let automata = &mut automata.0;
    let follow = Follow::new(grammar, automata).of_terminals;
    let mut known = HashMap::new();
    let mut share_texts = |a: usize, b: usize| {
        let pair = (a.min(b), a.max(b));
        *known.entry(pair).or_insert_with(|| a == b || both(automata, a, b, &mut |a, b| meet(a, b)))
    };
    let pairs = expected::together(grammar, &mut share_texts);
    let is_expected = |a: usize, b: usize| pairs.as_ref().is_none_or(|pairs| pairs.contains(&(a, b)));
    let mut found = Vec::new();
    for &a in &used {
        for &b in &used {
            let follow = follow[a];
            if is_expected(a, b) && both(automata, a, b, &mut |a, b| is_overrun(a, b, follow)) {
                found.extend([a, b]);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The automata of the terminals that have occurred so far.
#[derive(Default)]
pub(super) struct Automata(Vec<Option<Automaton>>);

impl Automata {
    fn add(&mut self, grammar: &Grammar<'_>, used: &[usize]) -> Result<(), String> {
        self.0.resize_with(grammar.terminals.len(), || None);
        for &terminal in used {
            if self.0[terminal].is_none() {
                self.0[terminal] = Some(Automaton::new(&grammar.terminals[terminal].expression)?);
            }
        }
        Ok(())
    }
}

/// A terminal's automaton.
struct Automaton {
    regex: Regex,
    first: Bytes,
}

impl Automaton {
    fn new(expression: &str) -> Result<Self, String> {
        let mut regex = Regex::new(expression).map_err(|error| error.to_string())?;
        let start = regex.initial_state();
        let first = Bytes::of(|byte| !regex.transition(start, byte).is_dead());
        Ok(Self { regex, first })
    }
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes([u64; 4]);

impl Bytes {
    fn of(mut has: impl FnMut(u8) -> bool) -> Self {
        let mut bytes = Self::default();
        for byte in (0..=u8::MAX).filter(|byte| has(*byte)) {
            bytes.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
        bytes
    }

    fn has(self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    fn is_disjoint(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(a, b)| a & b == 0)
    }

    fn or(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }
}

/// Asks about two automata, or about one and itself, which is then `None`.
fn both(
    automata: &mut [Option<Automaton>],
    a: usize,
    b: usize,
    ask: &mut dyn FnMut(&mut Regex, Option<&mut Regex>) -> bool,
) -> bool {
    let Some(mut of_a) = automata[a].take() else { return false };
    let answer = match &mut automata[b] {
        Some(of_b) if of_a.first.is_disjoint(of_b.first) => false,
        Some(of_b) => ask(&mut of_a.regex, Some(&mut of_b.regex)),
        None => ask(&mut of_a.regex, None),
    };
    automata[a] = Some(of_a);
    answer
}

/// Whether, after some text that `a` matches, a byte of `follow` continues `b`.
fn is_overrun(a: &mut Regex, b: Option<&mut Regex>, follow: Bytes) -> bool {
    walk_both(a, b, &mut |a, b| a.is_complete && follow.has(b.byte) && b.goes_on)
}

/// Whether a text matches both.
fn meet(a: &mut Regex, b: Option<&mut Regex>) -> bool {
    walk_both(a, b, &mut |a, b| a.is_complete && b.is_complete)
}

/// The first automaton after a text.
struct First {
    /// Whether the text matches.
    is_complete: bool,
}

/// The second automaton after the same text, and a byte that may come next.
struct Second {
    is_complete: bool,
    byte: u8,
    /// Whether the byte can continue the text.
    goes_on: bool,
}

/// Walks both automata side by side, or one beside itself, until an answer is found.
fn walk_both(
    a: &mut Regex,
    mut b: Option<&mut Regex>,
    is_found: &mut dyn FnMut(First, Second) -> bool,
) -> bool {
    let start = (a.initial_state(), b.as_mut().map(|b| b.initial_state()));
    let mut seen: HashSet<(StateID, Option<StateID>)> = HashSet::new();
    let mut waiting = vec![start];
    let mut is_start = true;
    while let Some((of_a, of_b)) = waiting.pop() {
        // Nothing matches the empty text: the grammar derives it by itself.
        let is_complete = !is_start && a.is_accepting(of_a);
        let is_complete_b = match (of_b, &mut b) {
            (Some(of_b), Some(b)) => !is_start && b.is_accepting(of_b),
            _ => is_complete,
        };
        is_start = false;
        for byte in 0..=u8::MAX {
            let next_of_a = a.transition(of_a, byte);
            let next_of_b = of_b.and_then(|of_b| b.as_mut().map(|b| b.transition(of_b, byte)));
            let goes_on = next_of_b.map_or(!next_of_a.is_dead(), |next| !next.is_dead());
            if is_found(First { is_complete }, Second { is_complete: is_complete_b, byte, goes_on }) {
                return true;
            }
            let next = (next_of_a, next_of_b);
            if goes_on && !next_of_a.is_dead() && seen.insert(next) {
                waiting.push(next);
            }
        }
        if seen.len() > MAX_PAIRS {
            return true;
        }
    }
    false
}

/// The bytes that may come after each terminal and rule.
struct Follow<'g> {
    grammar: &'g Grammar<'g>,
    automata: &'g [Option<Automaton>],
    is_nullable: Vec<bool>,
    first: Vec<Bytes>,
    of_rules: Vec<Bytes>,
    of_terminals: Vec<Bytes>,
}

impl<'g> Follow<'g> {
    fn new(grammar: &'g Grammar<'g>, automata: &'g [Option<Automaton>]) -> Self {
        let n_rules = grammar.bodies.len();
        let mut follow = Self {
            grammar,
            automata,
            is_nullable: vec![false; n_rules],
            first: vec![Bytes::default(); n_rules],
            of_rules: vec![Bytes::default(); n_rules],
            of_terminals: vec![Bytes::default(); grammar.terminals.len()],
        };
        while follow.find_first() {}
        while follow.find_follow() {}
        follow
    }

    /// One round; whether anything has changed.
    fn find_first(&mut self) -> bool {
        let mut is_changed = false;
        for (index, body) in self.grammar.bodies.iter().enumerate() {
            let Some(body) = body else { continue };
            let found = (self.nullable(body), self.first(body));
            is_changed |= found != (self.is_nullable[index], self.first[index]);
            (self.is_nullable[index], self.first[index]) = found;
        }
        is_changed
    }

    fn find_follow(&mut self) -> bool {
        let before = (self.of_rules.clone(), self.of_terminals.clone());
        for (index, body) in self.grammar.bodies.iter().enumerate() {
            if let Some(body) = body {
                self.walk(body, self.of_rules[index]);
            }
        }
        before != (self.of_rules.clone(), self.of_terminals.clone())
    }

    fn nullable(&self, node: &Node) -> bool {
        match node {
            Node::Alt(nodes) => nodes.iter().any(|node| self.nullable(node)),
            Node::Seq(nodes) => nodes.iter().all(|node| self.nullable(node)),
            Node::Repeat(node, repeat) => repeat.min == 0 || self.nullable(node),
            Node::Rule(index) => self.is_nullable[*index],
            Node::Terminal(index) => self.grammar.terminals[*index].is_nullable(self.grammar),
        }
    }

    fn first(&self, node: &Node) -> Bytes {
        match node {
            Node::Alt(nodes) => nodes.iter().map(|node| self.first(node)).fold(Bytes::default(), Bytes::or),
            Node::Seq(nodes) => {
                let n_nullable = nodes.iter().take_while(|node| self.nullable(node)).count();
                let first = nodes.iter().take(n_nullable + 1).map(|node| self.first(node));
                first.fold(Bytes::default(), Bytes::or)
            }
            Node::Repeat(node, _) => self.first(node),
            Node::Rule(index) => self.first[*index],
            Node::Terminal(index) => {
                self.automata[*index].as_ref().map_or(Bytes::default(), |automaton| automaton.first)
            }
        }
    }

    /// Notes what follows the parts of a node that `after` may follow.
    fn walk(&mut self, node: &Node, after: Bytes) {
        match node {
            Node::Alt(nodes) => nodes.iter().for_each(|node| self.walk(node, after)),
            Node::Seq(nodes) => {
                let mut after = after;
                for node in nodes.iter().rev() {
                    self.walk(node, after);
                    let first = self.first(node);
                    after = if self.nullable(node) { after.or(first) } else { first };
                }
            }
            Node::Repeat(_, Repeat { max: Some(0), .. }) => {}
            Node::Repeat(node, Repeat { max: Some(1), .. }) => self.walk(node, after),
            Node::Repeat(node, _) => self.walk(node, after.or(self.first(node))),
            Node::Rule(index) => self.of_rules[*index] = self.of_rules[*index].or(after),
            Node::Terminal(index) => self.of_terminals[*index] = self.of_terminals[*index].or(after),
        }
    }
}
