//! Parses GBNF.

use std::collections::HashMap;

/// Deepest nesting of groups.
const MAX_NESTING: usize = 100;
/// Largest number of repetitions that can be counted.
const MAX_REPETITIONS: u32 = 100_000;

/// The rules of a grammar.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) bodies: Vec<Expr>,
    /// The index of `root`.
    pub(super) root: usize,
}

/// What a rule derives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    /// One of some alternatives.
    Alt(Vec<Expr>),
    /// One after the other; the empty text if there is none.
    Seq(Vec<Expr>),
    /// One character.
    Class(Class),
    /// A number of times.
    Repeat(Box<Expr>, Repeat),
    /// Another rule.
    Rule(usize),
}

/// Characters by ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) is_negated: bool,
    pub(super) ranges: Vec<(char, char)>,
}

/// How often something is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) min: u32,
    /// `None` is any number.
    pub(super) max: Option<u32>,
}

impl Class {
    fn of(character: char) -> Self {
        Self { is_negated: false, ranges: vec![(character, character)] }
    }
}

/// Parses a grammar.
///
/// # Errors
/// What is wrong, with the line.
pub(super) fn parse(text: &str) -> Result<Rules, String> {
    let mut parser = Parser { text, at: 0, names: HashMap::new(), bodies: Vec::new() };
    parser.skip_lines();
    while parser.peek().is_some() {
        parser.rule().map_err(|message| format!("line {}: {message}", line(text, parser.at)))?;
        parser.skip_lines();
    }
    let Parser { names, bodies, .. } = parser;
    let root = names.get("root").filter(|name| bodies[name.index].is_some());
    let root = root.ok_or("there is no rule root")?.index;
    let undefined = names.iter().filter(|(_, name)| bodies[name.index].is_none());
    if let Some((name, known)) = undefined.min_by_key(|(_, name)| name.at) {
        return Err(format!("line {}: the rule {name} is not defined", line(text, known.at)));
    }
    Ok(Rules { bodies: bodies.into_iter().flatten().collect(), root })
}

/// The line of an offset, from 1.
fn line(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

struct Parser<'t> {
    text: &'t str,
    /// Offset of the next byte.
    at: usize,
    names: HashMap<&'t str, Name>,
    bodies: Vec<Option<Expr>>,
}

/// A rule that was mentioned.
struct Name {
    index: usize,
    /// Offset of its first mention.
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Whether the next character is this one, which is then passed.
    fn accept(&mut self, expected: char) -> bool {
        let is_next = self.peek() == Some(expected);
        if is_next {
            self.at += expected.len_utf8();
        }
        is_next
    }

    /// Skips spaces and a comment.
    fn skip_spaces(&mut self) {
        let rest = self.rest().trim_start_matches([' ', '\t', '\r']);
        let rest = if rest.starts_with('#') { &rest[rest.find('\n').unwrap_or(rest.len())..] } else { rest };
        self.at = self.text.len() - rest.len();
    }

    /// Skips spaces, comments and line breaks.
    fn skip_lines(&mut self) {
        loop {
            self.skip_spaces();
            if !self.accept('\n') {
                return;
            }
        }
    }

    fn name(&mut self) -> Option<usize> {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        if name.is_empty() {
            return None;
        }
        let at = self.at;
        self.at += name.len();
        let n_names = self.bodies.len();
        let known = self.names.entry(name).or_insert(Name { index: n_names, at }).index;
        if known == n_names {
            self.bodies.push(None);
        }
        Some(known)
    }

    fn rule(&mut self) -> Result<(), String> {
        let index = self.name().ok_or_else(|| self.unexpected("the name of a rule"))?;
        self.skip_spaces();
        if !self.rest().starts_with("::=") {
            return Err(self.unexpected("::="));
        }
        self.at += 3;
        self.skip_lines();
        let body = self.alternatives(0)?;
        if self.peek().is_some_and(|next| next != '\n') {
            return Err(self.unexpected("the end of the rule"));
        }
        match self.bodies[index].replace(body) {
            None => Ok(()),
            Some(_) => Err("the rule above is defined twice".to_owned()),
        }
    }

    fn unexpected(&self, expected: &str) -> String {
        match self.peek() {
            Some(found) => format!("expected {expected}, found {found:?}"),
            None => format!("expected {expected}, found the end"),
        }
    }

    fn alternatives(&mut self, nesting: usize) -> Result<Expr, String> {
        if nesting > MAX_NESTING {
            return Err(format!("groups are nested more than {MAX_NESTING} deep"));
        }
        let mut alternatives = vec![self.sequence(nesting)?];
        loop {
            // A rule goes on if its next line begins with an alternative.
            let end = self.at;
            self.skip_lines();
            if !self.accept('|') {
                self.at = if nesting > 0 { self.at } else { end };
                break;
            }
            self.skip_lines();
            alternatives.push(self.sequence(nesting)?);
        }
        Ok(if alternatives.len() == 1 { alternatives.remove(0) } else { Expr::Alt(alternatives) })
    }

    fn sequence(&mut self, nesting: usize) -> Result<Expr, String> {
        let mut parts = Vec::new();
        loop {
            if nesting > 0 {
                self.skip_lines();
            } else {
                self.skip_spaces();
            }
            let Some(part) = self.atom(nesting)? else { break };
            // `ab*` in quotes repeats the whole text, as in llama.cpp.
            parts.push(self.repetitions(part)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Seq(parts) })
    }

    fn atom(&mut self, nesting: usize) -> Result<Option<Expr>, String> {
        Ok(Some(match self.peek() {
            Some('"') => {
                self.at += 1;
                let mut characters = Vec::new();
                while !self.accept('"') {
                    characters.push(Expr::Class(Class::of(self.character("a closing \"")?)));
                }
                if characters.len() == 1 { characters.remove(0) } else { Expr::Seq(characters) }
            }
            Some('[') => {
                self.at += 1;
                Expr::Class(self.class()?)
            }
            Some('.') => {
                self.at += 1;
                Expr::Class(Class { is_negated: true, ranges: Vec::new() })
            }
            Some('(') => {
                self.at += 1;
                let group = self.alternatives(nesting + 1)?;
                self.skip_lines();
                if !self.accept(')') {
                    return Err(self.unexpected("a closing )"));
                }
                group
            }
            Some('<') => return Err("tokens such as <think> are not possible; write their text".to_owned()),
            _ => match self.name() {
                Some(rule) => Expr::Rule(rule),
                None => return Ok(None),
            },
        }))
    }

    /// A character within quotes or brackets.
    fn character(&mut self, end: &str) -> Result<char, String> {
        let next = self.peek().filter(|next| *next != '\n').ok_or_else(|| self.unexpected(end))?;
        self.at += next.len_utf8();
        if next != '\\' {
            return Ok(next);
        }
        let escaped = self.next();
        let n_digits = match escaped {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(same @ ('\\' | '"' | '[' | ']' | '-' | '^' | '/')) => return Ok(same),
            _ => return Err(format!("unknown escape \\{}", escaped.map_or(String::new(), String::from))),
        };
        let digits =
            self.rest().get(..n_digits).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let digits = digits.ok_or_else(|| format!("an escape needs {n_digits} hexadecimal digits"))?;
        self.at += n_digits;
        let code = u32::from_str_radix(digits, 16).map_err(|error| error.to_string())?;
        char::from_u32(code).ok_or_else(|| format!("{code:#x} is no character"))
    }

    fn class(&mut self) -> Result<Class, String> {
        let is_negated = self.accept('^');
        let mut ranges = Vec::new();
        while !self.accept(']') {
            let first = self.character("a closing ]")?;
            let is_range = self.rest().starts_with('-') && !self.rest().starts_with("-]");
            let last = if is_range {
                self.at += 1;
                self.character("a closing ]")?
            } else {
                first
            };
            if last < first {
                return Err(format!("the range {first:?} to {last:?} is empty"));
            }
            ranges.push((first, last));
        }
        if ranges.is_empty() && !is_negated {
            return Err("a class [] has no characters".to_owned());
        }
        Ok(Class { is_negated, ranges })
    }

    fn repetitions(&mut self, mut part: Expr) -> Result<Expr, String> {
        loop {
            let repeat = match self.peek() {
                Some('*') => Repeat { min: 0, max: None },
                Some('+') => Repeat { min: 1, max: None },
                Some('?') => Repeat { min: 0, max: Some(1) },
                Some('{') => {
                    self.at += 1;
                    let repeat = self.counts()?;
                    if self.peek() != Some('}') {
                        return Err(self.unexpected("a closing }"));
                    }
                    repeat
                }
                _ => return Ok(part),
            };
            self.at += 1;
            part = Expr::Repeat(Box::new(part), repeat);
        }
    }

    /// Reads `m`, `m,`, `,n` or `m,n`.
    fn counts(&mut self) -> Result<Repeat, String> {
        self.skip_spaces();
        let min = self.number()?;
        self.skip_spaces();
        if !self.accept(',') {
            let min = min.ok_or_else(|| self.unexpected("a number"))?;
            return Ok(Repeat { min, max: Some(min) });
        }
        self.skip_spaces();
        let max = self.number()?;
        self.skip_spaces();
        let min = min.unwrap_or(0);
        match max {
            Some(max) if max < min => Err(format!("{{{min},{max}}} is empty")),
            max => Ok(Repeat { min, max }),
        }
    }

    fn number(&mut self) -> Result<Option<u32>, String> {
        let rest = self.rest();
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        if digits.is_empty() {
            return Ok(None);
        }
        self.at += digits.len();
        let number = digits.parse().ok().filter(|number| *number <= MAX_REPETITIONS);
        number.map(Some).ok_or_else(|| format!("{digits} repetitions are more than {MAX_REPETITIONS}"))
    }
}
