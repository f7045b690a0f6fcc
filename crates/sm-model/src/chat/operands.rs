//! Sends the operands of a tag's code through the filter [`WALKED`], wherever the engine walks through a value and counts the work only
//! afterwards: it prints both sides of `~`, compares the sides of `==` and `in`, and hashes keys. A list may be much larger than the
//! memory it takes: `[x] * 1000` keeps one `x`, and lists within lists multiply.
//!
//! Sums, products and slices of lists are lazy; they are copied, so that no later use goes uncounted through what they are made of.

mod tokens;

use super::python::{COPIED, SLICED, WALKED};
use tokens::{Kind, Token, tokenize};

/// Filters that print, compare or hash their values: each value is walked first.
const DEEP_FILTERS: [&str; 24] = [
    "attr",
    "capitalize",
    "dictsort",
    "e",
    "escape",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "join",
    "lines",
    "lower",
    "max",
    "min",
    "pprint",
    "replace",
    "sort",
    "split",
    "string",
    "title",
    "trim",
    "unique",
    "upper",
];

/// Which of the expressions between brackets are walked.
#[derive(Clone, Copy, PartialEq)]
enum Walk {
    None,
    All,
    /// Those before a colon: the keys of a dict.
    Keys,
}

/// The code of a tag from byte `start` on, with its operands walked; code with brackets that do not match is left to the engine's error.
pub(super) fn walk(code: &str, start: usize, is_loop: bool) -> String {
    let mut tokens = Vec::new();
    // What controls white space is at the end.
    let end = code.strip_suffix(['-', '+']).unwrap_or(code);
    if start > end.len() || !tokenize(end, start, &mut tokens) {
        return code.to_owned();
    }
    if is_loop {
        // The first `in` does not compare, and `recursive` is no value.
        if let Some(token) = tokens.iter_mut().find(|token| token.text == "in") {
            token.kind = Kind::Separator;
        }
        if let Some(token) = tokens.iter_mut().rfind(|token| token.text == "recursive") {
            token.kind = Kind::Separator;
        }
    }
    let mut writer = Writer { code, tokens: &tokens, out: String::with_capacity(code.len()), copied: 0 };
    writer.expressions(0, tokens.len(), Walk::None);
    writer.copy(code.len());
    writer.out
}

/// Copies the code, and adds to it. Ranges are indices of tokens.
struct Writer<'a> {
    code: &'a str,
    tokens: &'a [Token<'a>],
    out: String,
    copied: usize, // bytes of the code
}

impl Writer<'_> {
    fn expressions(&mut self, from: usize, to: usize, walk: Walk) {
        for (mut from, to) in self.split(from, to, Kind::Separator) {
            let end = self.tokens.get(to).map_or("", |token| token.text);
            let walks = match walk {
                Walk::None => false,
                Walk::All => end != "=", // the name of an argument
                Walk::Keys => end == ":",
            };
            while from < to && matches!(self.tokens[from].text, "*" | "**") {
                from += 1; // a list or dict of arguments
            }
            self.walked(walks, from, to, |writer| writer.comparison(from, to));
        }
    }

    fn comparison(&mut self, from: usize, to: usize) {
        let sides = self.split(from, to, Kind::Compare);
        // With a literal, nothing is compared that has parts. What is looked for in a text is printed.
        let walks = match sides[..] {
            [_] => false,
            [left, right] => {
                let is_in = self.tokens[left.1].text.ends_with("in");
                !self.is_literal(left.0, left.1) && (is_in || !self.is_literal(right.0, right.1))
            }
            _ => true,
        };
        for (from, to) in sides {
            self.walked(walks, from, to, |writer| writer.sum(from, to));
        }
    }

    fn sum(&mut self, from: usize, to: usize) {
        let terms = self.split(from, to, Kind::Sum);
        let adds = terms[1..].iter().any(|(from, _)| self.tokens[from - 1].text == "+");
        // Lists are added to lists only.
        let copies = adds && !terms.iter().any(|&(from, to)| self.is_text_or_number(from, to));
        self.copied(copies, from, to, |writer| {
            for (from, to) in terms {
                let parts = writer.split(from, to, Kind::Concat);
                let walks = parts.len() > 1;
                for (from, to) in parts {
                    writer.walked(walks, from, to, |writer| writer.product(from, to));
                }
            }
        });
    }

    fn product(&mut self, from: usize, to: usize) {
        let factors = self.split(from, to, Kind::Times);
        let copies = factors.len() > 1 && !factors.iter().all(|&(from, to)| self.is_text_or_number(from, to));
        self.copied(copies, from, to, |writer| writer.operand(from, to));
    }

    /// What is left of a product: values with their filters, and what is between their brackets.
    fn operand(&mut self, mut at: usize, to: usize) {
        // Where the value begins that a bracket may slice, in what was written.
        let mut value = self.out.len();
        while at < to {
            let token = self.tokens[at];
            if self.begins_value(at) {
                self.copy(token.at);
                value = self.out.len();
            }
            match token.kind {
                Kind::Pipe if self.is_deep_filter(at + 1) => {
                    self.copy(token.at);
                    self.out.push_str(&format!("|{WALKED}"));
                }
                Kind::Open => {
                    let of_filter = at >= 2 && self.tokens[at - 2].kind == Kind::Pipe;
                    let subscripts = token.text == "[" && !self.begins_value(at);
                    let walk = match token.text {
                        "(" if of_filter && self.is_deep_filter(at - 1) => Walk::All,
                        "[" if subscripts => Walk::All,
                        "{" => Walk::Keys,
                        _ => Walk::None,
                    };
                    let slices = subscripts && self.leaves_items_out(at + 1, token.close);
                    if slices {
                        self.enclose(value, token.at, SLICED);
                    }
                    self.expressions(at + 1, token.close, walk);
                    at = token.close;
                    if slices {
                        self.enclose(value, self.tokens[at].end(), COPIED);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Writes the tokens `from..to` by `write`, as a list that is copied if `copies`.
    fn copied(&mut self, copies: bool, from: usize, to: usize, write: impl FnOnce(&mut Self)) {
        if !copies || from == to {
            return write(self);
        }
        self.copy(self.tokens[from].at);
        let start = self.out.len();
        self.out.push('(');
        write(self);
        self.copy(self.tokens[to - 1].end());
        self.out.push(')');
        self.enclose(start, self.copied, COPIED);
    }

    /// Sends a value, from byte `start` of what was written to byte `end` of the code, through a filter.
    fn enclose(&mut self, start: usize, end: usize, filter: &str) {
        self.copy(end);
        self.out.insert(start, '(');
        self.out.push_str(&format!("|{filter})"));
    }

    /// Whether a value begins with a token, rather than to go on with an attribute, an item or arguments.
    fn begins_value(&self, at: usize) -> bool {
        let begins = matches!(self.tokens[at].kind, Kind::Name | Kind::Literal | Kind::Open);
        let previous = at.checked_sub(1).map(|at| self.tokens[at]);
        begins
            && !previous
                .is_some_and(|token| token.ends_value() || token.text == "." || token.kind == Kind::Pipe)
    }

    /// Whether a slice, between its brackets, has a start or a step.
    fn leaves_items_out(&self, from: usize, to: usize) -> bool {
        let colons: Vec<_> = self.split(from, to, Kind::Separator).into_iter().map(|(_, end)| end).collect();
        let colons = colons.iter().filter(|&&at| at < to && self.tokens[at].text == ":");
        colons.clone().next().is_some_and(|first| *first > from) || colons.count() > 1
    }

    fn is_deep_filter(&self, at: usize) -> bool {
        match &self.tokens[at..] {
            // Takes an attribute of each item, or gives it to a filter.
            [name, open, argument, ..] if name.text == "map" && open.text == "(" => {
                argument.text != "attribute"
            }
            [name, ..] => DEEP_FILTERS.contains(&name.text),
            [] => false,
        }
    }

    /// Writes the tokens `from..to` by `write`, as a value that is walked if `walks`, unless nothing in them could be large.
    fn walked(&mut self, walks: bool, from: usize, to: usize, write: impl FnOnce(&mut Self)) {
        if !walks || self.is_literal(from, to) {
            return write(self);
        }
        self.copy(self.tokens[from].at);
        self.out.push('(');
        write(self);
        self.copy(self.tokens[to - 1].end());
        self.out.push_str(&format!(")|{WALKED}"));
    }

    /// The ranges between the separators of a kind, outside of brackets.
    fn split(&self, from: usize, to: usize, kind: Kind) -> Vec<(usize, usize)> {
        let mut ranges = Vec::new();
        let (mut start, mut at) = (from, from);
        while at < to {
            let token = &self.tokens[at];
            if token.kind == kind {
                ranges.push((start, at));
                start = at + 1;
            }
            at = if token.kind == Kind::Open { token.close } else { at } + 1;
        }
        ranges.push((start, to));
        ranges
    }

    fn is_text_or_number(&self, from: usize, to: usize) -> bool {
        self.tokens[from..to].iter().all(|token| token.kind == Kind::Literal)
    }

    /// Whether there is nothing, a literal, or an empty list.
    fn is_literal(&self, from: usize, to: usize) -> bool {
        match &self.tokens[from..to] {
            [first, last] if first.kind == Kind::Open && last.kind == Kind::Close => true,
            [minus, rest @ ..] if minus.text == "-" => rest.iter().all(|token| token.kind == Kind::Literal),
            tokens => tokens.iter().all(|token| token.kind == Kind::Literal),
        }
    }

    fn copy(&mut self, to: usize) {
        self.out.push_str(&self.code[self.copied..to]);
        self.copied = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(code: &str) -> String {
        walk(code, 0, false).replace(WALKED, "w").replace(SLICED, "s").replace(COPIED, "c")
    }

    #[test]
    fn operands_are_walked_where_the_engine_walks_them() {
        let cases = [
            ("a ~ 'x' ~ b.c[0] - d", "(a)|w ~ 'x' ~ (b.c[0])|w - d"),
            ("'a' ~ -b * c|f ~ (d - e)", "'a' ~ (((-b * c|f)|c))|w ~ ((d - e))|w"),
            (
                "a == b and not c in d or e not in f",
                "(a)|w == (b)|w and not (c)|w in (d)|w or (e)|w not in (f)|w",
            ),
            ("a.role == 'x' and 'in' in b and c != -1", "a.role == 'x' and 'in' in b and c != -1"),
            ("a ~ b == c ~ 'd'", "((a)|w ~ (b)|w)|w == ((c)|w ~ 'd')|w"),
            ("0 < a < b", "0 < (a)|w < (b)|w"),
            ("a in 'b' or 'a' not in b", "(a)|w in 'b' or 'a' not in b"),
            ("a is in b ~ c", "(a is in b)|w ~ (c)|w"),
            ("a is not in [b ~ c]", "a is not in [(b)|w ~ (c)|w]"),
            ("x ~ y if a is defined else z.in ~ 1", "(x)|w ~ (y)|w if a is defined else (z.in)|w ~ 1"),
            ("a|join(b, d='c')|length", "a|w|join((b)|w, d='c')|length"),
            ("a|replace(*b, **c)|format(d=e)", "a|w|replace(*(b)|w, **(c)|w)|w|format(d=(e)|w)"),
            ("a|map(attribute='b')|map('upper', c)", "a|map(attribute='b')|w|map('upper', (c)|w)"),
            (
                "a[b][1:][c.d:] ~ {e: f, 'g': [h]}",
                "(((((a[(b)|w]|s)[1:]|c)|s)[(c.d)|w:]|c))|w ~ ({(e)|w: f, 'g': [h]})|w",
            ),
            ("a == [] or b == {}", "a == [] or b == {}"),
            ("a + b * c if d + 1 else e - f ~ g", "((a + ((b * c)|c))|c) if d + 1 else e - (f)|w ~ (g)|w"),
            ("f(*a * b, c + [d] - e)", "f(*((a * b)|c), ((c + [d] - e)|c))"),
            ("-a.b(c)[1:].d[:2]", "-((a.b(c)|s)[1:]|c).d[:2]"),
            ("[a[::-1][:1], b|f[1]][:2:3]", "(([((a|s)[::-1]|c)[:1], b|f[1]]|s)[:2:3]|c)"),
            ("a is in b[x if y else z:]", "a is in ((b|s)[(x)|w if (y)|w else (z)|w:]|c)"),
            ("f(a ~ b, c=d == e) ", "f((a)|w ~ (b)|w, c=(d)|w == (e)|w) "),
            ("a ~ (b", "a ~ (b"),
            ("'\\'' ~ \"~\" ~ a -", "'\\'' ~ \"~\" ~ (a)|w -"),
        ];
        for (code, expected) in cases {
            assert_eq!(walked(code), expected);
        }
    }

    #[test]
    fn the_in_of_a_loop_compares_nothing() {
        let of_loop = |code| walk(code, "for".len(), true).replace(WALKED, "w");
        assert_eq!(of_loop("for a, b in c ~ d recursive"), "for a, b in (c)|w ~ (d)|w recursive");
        assert_eq!(of_loop("for a in b if a in b -"), "for a in b if (a)|w in (b)|w -");
    }
}
