//! Which parts of a grammar are terminals.

use std::fmt::Write;

use super::parser::{Class, Expr, Repeat, Rules};

/// Longest regular expression of a terminal, in bytes. Rules are written out where they are used, which can multiply them.
const MAX_EXPRESSION_BYTES: usize = 1 << 17;

/// A grammar of terminals.
#[derive(Debug)]
pub(super) struct Grammar<'r> {
    rules: &'r Rules,
    /// What rules with recursion derive; `None` for those that are parts of terminals.
    pub(super) bodies: Vec<Option<Node>>,
    pub(super) root: usize,
    pub(super) terminals: Vec<Terminal>,
    /// Whether each rule can be written as a regular expression.
    is_regular: Vec<bool>,
}

/// What a rule derives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Alt(Vec<Node>),
    Seq(Vec<Node>),
    Repeat(Box<Node>, Repeat),
    Rule(usize),
    Terminal(usize),
}

/// A lexeme.
#[derive(Debug)]
pub(super) struct Terminal {
    expr: Expr,
    /// The expression; it may match the empty text, which the grammar derives by itself.
    pub(super) expression: String,
}

/// The regular expression of a grammar without recursion.
pub(super) fn only_terminal(rules: &Rules) -> Option<String> {
    let is_regular = regular_rules(rules);
    expression_of(rules, &is_regular, &Expr::Rule(rules.root))
}

impl<'r> Grammar<'r> {
    /// The grammar with the largest terminals.
    pub(super) fn new(rules: &'r Rules) -> Self {
        let is_regular = regular_rules(rules);
        let mut grammar = Self {
            rules,
            bodies: vec![None; rules.bodies.len()],
            root: rules.root,
            terminals: Vec::new(),
            is_regular,
        };
        for (index, body) in rules.bodies.iter().enumerate() {
            if !grammar.is_regular[index] {
                grammar.bodies[index] = Some(grammar.node(body));
            }
        }
        grammar
    }

    /// Splits terminals by one level; `false` if none of them can be split.
    pub(super) fn split(&mut self, terminals: &[usize]) -> bool {
        let mut is_changed = false;
        for &terminal in terminals {
            let expr = self.terminals[terminal].expr.clone();
            let Some(parts) = self.parts(&expr) else { continue };
            is_changed = true;
            for body in self.bodies.iter_mut().flatten() {
                replace(body, terminal, &parts);
            }
        }
        is_changed
    }

    /// The terminals that occur.
    pub(super) fn used(&self) -> Vec<usize> {
        let mut used = Vec::new();
        self.bodies.iter().flatten().for_each(|body| terminals_of(body, &mut used));
        used.sort_unstable();
        used.dedup();
        used
    }

    /// An expression as one terminal if it has no recursion. Neighbours stay apart: joined, the comma of a list and the comma and key
    /// of an object would be different terminals, and in conflict.
    fn node(&mut self, expr: &Expr) -> Node {
        let is_empty = match expr {
            Expr::Seq(parts) => parts.is_empty(),
            Expr::Repeat(_, repeat) => repeat.max == Some(0),
            _ => false,
        };
        if is_empty {
            return Node::Seq(Vec::new());
        }
        if let Some(expression) = expression_of(self.rules, &self.is_regular, expr) {
            return self.terminal(expr.clone(), expression);
        }
        match expr {
            Expr::Alt(parts) => self.alternatives(parts),
            Expr::Seq(parts) => Node::Seq(parts.iter().map(|part| self.node(part)).collect()),
            Expr::Repeat(part, repeat) => Node::Repeat(Box::new(self.node(part)), *repeat),
            Expr::Rule(index) => {
                self.define(*index);
                Node::Rule(*index)
            }
            Expr::Class(_) => unreachable!("a class is regular"),
        }
    }

    /// Alternatives, of which those without recursion are one terminal, such as the keywords of a language.
    fn alternatives(&mut self, parts: &[Expr]) -> Node {
        let is_regular = |part: &&Expr| expression_of(self.rules, &self.is_regular, part).is_some();
        let (regular, others): (Vec<&Expr>, Vec<&Expr>) = parts.iter().partition(is_regular);
        let together = Expr::Alt(regular.iter().map(|part| (*part).clone()).collect());
        let mut nodes: Vec<Node> = Vec::new();
        match expression_of(self.rules, &self.is_regular, &together) {
            Some(expression) if regular.len() > 1 => nodes.push(self.terminal(together, expression)),
            _ => nodes.extend(regular.iter().map(|part| self.node(part)).collect::<Vec<_>>()),
        }
        nodes.extend(others.iter().map(|part| self.node(part)).collect::<Vec<_>>());
        Node::Alt(nodes)
    }

    /// Makes a rule without recursion, which is too long to be written out, one of the grammar.
    fn define(&mut self, index: usize) {
        if self.is_regular[index] && self.bodies[index].is_none() {
            let body = self.rules.bodies[index].clone();
            self.bodies[index] = Some(self.node(&body));
        }
    }

    /// What a terminal consists of, each part a terminal; `None` for a single character.
    fn parts(&mut self, expr: &Expr) -> Option<Node> {
        Some(match expr {
            Expr::Class(_) => return None,
            Expr::Alt(parts) => Node::Alt(parts.iter().map(|part| self.node(part)).collect()),
            Expr::Seq(parts) => Node::Seq(parts.iter().map(|part| self.node(part)).collect()),
            Expr::Repeat(part, repeat) => Node::Repeat(Box::new(self.node(part)), *repeat),
            Expr::Rule(index) => {
                let body = self.rules.bodies[*index].clone();
                return self.parts(&body).or_else(|| Some(self.node(&body)));
            }
        })
    }

    fn terminal(&mut self, expr: Expr, expression: String) -> Node {
        // Not by the regular expression: a terminal and a part of it may have the same one.
        let known = self.terminals.iter().position(|known| known.expr == expr);
        Node::Terminal(known.unwrap_or_else(|| {
            self.terminals.push(Terminal { expr, expression });
            self.terminals.len() - 1
        }))
    }
}

impl Terminal {
    /// Whether it matches the empty text.
    pub(super) fn is_nullable(&self, rules: &Grammar<'_>) -> bool {
        is_nullable(rules.rules, &self.expr)
    }
}

fn is_nullable(rules: &Rules, expr: &Expr) -> bool {
    match expr {
        Expr::Alt(parts) => parts.iter().any(|part| is_nullable(rules, part)),
        Expr::Seq(parts) => parts.iter().all(|part| is_nullable(rules, part)),
        Expr::Repeat(part, repeat) => repeat.min == 0 || is_nullable(rules, part),
        Expr::Rule(index) => is_nullable(rules, &rules.bodies[*index]),
        Expr::Class(_) => false,
    }
}

fn replace(node: &mut Node, terminal: usize, parts: &Node) {
    match node {
        Node::Terminal(index) if *index == terminal => *node = parts.clone(),
        Node::Alt(nodes) | Node::Seq(nodes) => {
            nodes.iter_mut().for_each(|node| replace(node, terminal, parts));
        }
        Node::Repeat(node, _) => replace(node, terminal, parts),
        Node::Rule(_) | Node::Terminal(_) => {}
    }
}

fn terminals_of(node: &Node, used: &mut Vec<usize>) {
    match node {
        Node::Terminal(index) => used.push(*index),
        Node::Alt(nodes) | Node::Seq(nodes) => nodes.iter().for_each(|node| terminals_of(node, used)),
        Node::Repeat(node, _) => terminals_of(node, used),
        Node::Rule(_) => {}
    }
}

/// The rules without recursion that stay short when the rules in them are written out.
fn regular_rules(rules: &Rules) -> Vec<bool> {
    let mut lengths = Lengths { rules, known: vec![Length::Unknown; rules.bodies.len()] };
    (0..rules.bodies.len()).map(|index| lengths.of_rule(index).is_some()).collect()
}

/// Lengths of rules as regular expressions, in about bytes.
struct Lengths<'r> {
    rules: &'r Rules,
    known: Vec<Length>,
}

#[derive(Clone, Copy)]
enum Length {
    Unknown,
    /// The rule is part of itself if it is met again.
    Open,
    Known(Option<usize>),
}

impl Lengths<'_> {
    fn of_rule(&mut self, index: usize) -> Option<usize> {
        match self.known[index] {
            Length::Known(length) => length,
            Length::Open => None,
            Length::Unknown => {
                self.known[index] = Length::Open;
                let rules = self.rules;
                let length = self.of(&rules.bodies[index]).filter(|length| *length <= MAX_EXPRESSION_BYTES);
                self.known[index] = Length::Known(length);
                length
            }
        }
    }

    fn of(&mut self, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Class(class) => Some(4 + 20 * class.ranges.len()),
            Expr::Seq(parts) | Expr::Alt(parts) => {
                parts.iter().try_fold(4, |sum: usize, part| Some(sum.saturating_add(1 + self.of(part)?)))
            }
            Expr::Repeat(part, _) => Some(self.of(part)?.saturating_add(20)),
            Expr::Rule(index) => self.of_rule(*index),
        }
    }
}

/// An expression as a regular expression; `None` if it refers to rules that are not regular, or gets too long.
fn expression_of(rules: &Rules, is_regular: &[bool], expr: &Expr) -> Option<String> {
    let mut expression = String::new();
    write(rules, is_regular, expr, &mut expression).then_some(expression)
}

/// Appends a regular expression; `false` if that is not possible.
fn write(rules: &Rules, is_regular: &[bool], expr: &Expr, out: &mut String) -> bool {
    if out.len() > MAX_EXPRESSION_BYTES {
        return false;
    }
    match expr {
        Expr::Class(class) => write_class(class, out),
        Expr::Seq(parts) => return parts.iter().all(|part| write(rules, is_regular, part, out)),
        Expr::Alt(parts) => {
            for (index, part) in parts.iter().enumerate() {
                out.push_str(if index == 0 { "(?:" } else { "|" });
                if !write(rules, is_regular, part, out) {
                    return false;
                }
            }
            out.push(')');
        }
        Expr::Repeat(part, repeat) => {
            out.push_str("(?:");
            if !write(rules, is_regular, part, out) {
                return false;
            }
            out.push(')');
            write_repeat(*repeat, out);
        }
        Expr::Rule(index) => {
            return is_regular[*index] && write(rules, is_regular, &rules.bodies[*index], out);
        }
    }
    true
}

/// Appends `*`, `+`, `?` or counts, which regular expressions and Lark write alike.
pub(super) fn write_repeat(repeat: Repeat, out: &mut String) {
    let written = match (repeat.min, repeat.max) {
        (0, None) => write!(out, "*"),
        (1, None) => write!(out, "+"),
        (0, Some(1)) => write!(out, "?"),
        (min, None) => write!(out, "{{{min},}}"),
        (min, Some(max)) => write!(out, "{{{min},{max}}}"),
    };
    written.expect("writing to a string cannot fail");
}

fn write_class(class: &Class, out: &mut String) {
    let character = |c: char| {
        if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{{{:X}}}", u32::from(c)) }
    };
    match class.ranges.as_slice() {
        [] => out.push_str("(?s:.)"),
        [(first, last)] if first == last && !class.is_negated => out.push_str(&character(*first)),
        ranges => {
            out.push_str(if class.is_negated { "[^" } else { "[" });
            for (first, last) in ranges {
                out.push_str(&character(*first));
                if first != last {
                    out.push('-');
                    out.push_str(&character(*last));
                }
            }
            out.push(']');
        }
    }
}
