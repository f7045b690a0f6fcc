//! Regular expressions as `tokenizer.json` files mean them, for the crate `fancy-regex`.
//!
//! The files are written for Oniguruma, a C library whose dialect `fancy-regex` shares for the most part. Where the two read one
//! expression differently, this module writes down what Oniguruma reads:
//!
//! | expression | Oniguruma | `fancy-regex` |
//! |---|---|---|
//! | `x{1,3}+` | `(?:x{1,3})+` | possessive |
//! | `x{2}?` | `(?:x{2})?` | lazy |
//! | `^`, `$` | at every line | at the ends of the text |
//! | `(?m)` | `.` matches line breaks | `^` and `$` match at every line |
//! | `a(?i)b\|c` | `a(?i:b\|c)` | `a(?i:b)\|(?i:c)` |
//! | `[[:alpha:]]` | all letters | ASCII letters |
//! | `\w` | without joiners | with them |
//! | `\<`, `{x` | the characters | a boundary of words, an error |
//!
//! Dialect: <https://github.com/kkos/oniguruma/blob/master/doc/RE>.

use std::iter::Peekable;
use std::str::Chars;

/// The set of `\w`.
const WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}";

/// The same expression for `fancy-regex`. What neither library accepts passes as it is, and fails to compile.
pub(super) fn translate(pattern: &str) -> String {
    let mut translator = Translator {
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len() + 16),
        atom: None,
        groups: Vec::new(),
        n_options: 0,
    };
    while let Some(character) = translator.rest.next() {
        translator.step(character);
    }
    translator.close_options();
    translator.out
}

struct Translator<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    atom: Option<Atom>,
    /// The open groups, outermost first.
    groups: Vec<Group>,
    /// Options such as `(?i)` since the innermost group opened, each written as a group of its own.
    n_options: usize,
}

/// What a quantifier would repeat.
#[derive(Clone, Copy)]
struct Atom {
    /// Where it starts in the output.
    start: usize,
    is_repeated: bool,
}

struct Group {
    /// Where it starts in the output.
    start: usize,
    /// [`Translator::n_options`] outside of it.
    n_options: usize,
}

impl Translator<'_> {
    fn step(&mut self, character: char) {
        let start = self.out.len();
        match character {
            '(' => return self.open_group(start),
            ')' => {
                self.close_options();
                self.out.push(')');
                let group = self.groups.pop();
                self.n_options = group.as_ref().map_or(0, |group| group.n_options);
                self.atom = group.map(|group| Atom { start: group.start, is_repeated: false });
                return;
            }
            '|' => {
                self.out.push('|');
                self.atom = None;
                return;
            }
            '*' | '+' | '?' => return self.repeat(&character.to_string(), true),
            '{' => match self.interval() {
                Some(interval) => return self.repeat(&interval, false),
                None => self.out.push_str(r"\{"),
            },
            '}' | ']' => self.out.extend(['\\', character]),
            // Not behind a line break that ends the text.
            '^' => self.out.push_str(r"(?:\A|(?<=\n)(?!\z))"),
            '$' => self.out.push_str("(?m:$)"),
            '[' => self.class(),
            '\\' => self.escape(),
            _ => self.out.push(character),
        }
        self.atom = Some(Atom { start, is_repeated: false });
    }

    /// Writes a quantifier; one behind another repeats what that one made. After an interval, `+` is such a second one.
    fn repeat(&mut self, quantifier: &str, may_be_possessive: bool) {
        if let Some(Atom { start, is_repeated: true }) = self.atom {
            self.out.insert_str(start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(quantifier);
        // `{2}?` is not lazy, there is nothing to choose; `{2,3}?` is.
        let may_be_lazy = may_be_possessive || quantifier.contains(',');
        let suffix = self.rest.peek().copied();
        if (suffix == Some('?') && may_be_lazy) || (suffix == Some('+') && may_be_possessive) {
            self.out.extend(self.rest.next());
        }
        if let Some(atom) = &mut self.atom {
            atom.is_repeated = true;
        }
    }

    /// The interval behind a `{`, as `{n}`, `{n,}` or `{n,m}`; `None` if the brace stands for itself.
    fn interval(&mut self) -> Option<String> {
        let mut ahead = self.rest.clone();
        let inner: String = ahead.by_ref().take_while(|&next| next != '}').collect();
        let (low, high) = inner.split_once(',').map_or((&*inner, None), |(low, high)| (low, Some(high)));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let interval = match high {
            None if is_number(low) => format!("{{{low}}}"),
            Some("") if is_number(low) => format!("{{{low},}}"),
            Some(high) if is_number(high) && is_number(low) => format!("{{{low},{high}}}"),
            Some(high) if is_number(high) && low.is_empty() => format!("{{0,{high}}}"),
            _ => return None,
        };
        self.rest = ahead;
        Some(interval)
    }

    fn open_group(&mut self, start: usize) {
        self.out.push('(');
        if self.rest.peek() == Some(&'?') {
            let ahead: Vec<char> = self.rest.clone().take_while(|next| !matches!(next, ')' | ':')).collect();
            let is_options = ahead.len() > 1 && ahead[1..].iter().all(|next| "imx-".contains(*next));
            if is_options {
                let end = self.rest.nth(ahead.len());
                self.out.extend(ahead.into_iter().map(|option| if option == 'm' { 's' } else { option }));
                self.out.push(':');
                if end == Some(')') {
                    self.n_options += 1;
                    self.atom = None;
                    return;
                }
            }
        }
        self.groups.push(Group { start, n_options: self.n_options });
        self.n_options = 0;
        self.atom = None;
        // The mark of a group, such as `?:` or `?<name>`, is not a quantifier.
        if self.rest.peek() == Some(&'?') && self.out.ends_with('(') {
            self.out.extend(self.rest.next());
            self.out.extend(self.rest.next_if(|next| "<!=:>#~".contains(*next)));
        }
    }

    /// Ends the options of the innermost group with it.
    fn close_options(&mut self) {
        self.out.extend(std::iter::repeat_n(')', self.n_options));
        self.n_options = 0;
    }

    fn escape(&mut self) {
        match self.rest.next() {
            Some(literal @ ('<' | '>')) => self.out.push(literal),
            Some('R') => self.out.push_str(r"(?>\r\n|[\n-\r\x{85}\x{2028}\x{2029}])"),
            Some('O') => self.out.push_str("(?s:.)"),
            Some('N') => self.out.push_str(r"[^\n]"),
            // At the end, or before a line break that ends the text.
            Some('Z') => self.out.push_str(r"(?=\n?\z)"),
            Some('w') => self.out.extend(["[", WORD, "]"]),
            Some('W') => self.out.extend(["[^", WORD, "]"]),
            Some(kind @ ('p' | 'P')) => self.property(kind),
            escaped => {
                self.out.push('\\');
                self.out.extend(escaped);
            }
        }
    }

    /// A Unicode property, where `^` negates.
    fn property(&mut self, kind: char) {
        let mut ahead = self.rest.clone();
        let is_negated = ahead.next() == Some('{') && ahead.next() == Some('^');
        let kind = match (kind, is_negated) {
            ('p', true) => 'P',
            ('P', true) => 'p',
            (kind, _) => kind,
        };
        self.out.extend(['\\', kind]);
        if is_negated {
            self.rest = ahead;
            self.out.push('{');
        }
        // The name holds no syntax, but its braces would be taken for an interval.
        if self.rest.peek() == Some(&'{') || is_negated {
            for next in self.rest.by_ref() {
                self.out.push(next);
                if next == '}' {
                    break;
                }
            }
        }
    }

    /// The rest of a character class behind its `[`.
    fn class(&mut self) {
        self.out.push('[');
        self.out.extend(self.rest.next_if_eq(&'^'));
        if self.rest.next_if_eq(&']').is_some() {
            self.out.push_str(r"\]");
        }
        while let Some(character) = self.rest.next() {
            match character {
                ']' => {
                    self.out.push(']');
                    return;
                }
                '[' => match self.posix_class() {
                    Some(set) => self.out.push_str(&set),
                    None => self.class(),
                },
                '\\' if self.rest.next_if_eq(&'b').is_some() => self.out.push_str(r"\x08"),
                '\\' => self.escape(),
                '&' if self.rest.next_if_eq(&'&').is_some() => self.out.push_str("&&"),
                // Doubled, these are operators on sets in `fancy-regex` only.
                '~' | '&' => self.out.extend(['\\', character]),
                '-' if self.rest.peek() == Some(&'-') => self.out.push_str(r"\-"),
                _ => self.out.push(character),
            }
        }
    }

    /// The set that `[:name:]` stands for behind its `[`; `None` if it is not one.
    fn posix_class(&mut self) -> Option<String> {
        let mut ahead = self.rest.clone();
        ahead.next_if_eq(&':')?;
        let is_negated = ahead.next_if_eq(&'^').is_some();
        let name: String = ahead.by_ref().take_while(|&next| next != ':').collect();
        ahead.next_if_eq(&']')?;
        let set = match name.as_str() {
            "alnum" => r"\p{Alphabetic}\p{Nd}",
            "alpha" => r"\p{Alphabetic}",
            "ascii" => r"\x00-\x7F",
            "blank" => r"\t\p{Zs}",
            "cntrl" => r"\p{Cc}",
            "digit" => r"\p{Nd}",
            "graph" => r"[^\s\p{Cc}\p{Cn}\p{Cs}]",
            "lower" => r"\p{Lowercase}",
            "print" => r"[^\p{Cc}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]",
            "punct" => r"\p{P}$+<=>\^`|\~",
            "space" => r"\s",
            "upper" => r"\p{Uppercase}",
            "xdigit" => "0-9A-Fa-f",
            "word" => WORD,
            _ => return None,
        };
        self.rest = ahead;
        Some(if is_negated { format!("[^{set}]") } else { format!("[{set}]") })
    }
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _, SplitDelimiterBehavior,
    };

    use super::*;

    #[test]
    fn pieces_match_those_of_oniguruma() {
        #[derive(serde::Deserialize)]
        struct Golden {
            expressions: Vec<Expression>,
        }
        #[derive(serde::Deserialize)]
        struct Expression {
            expression: String,
            text: String,
            pieces: Vec<String>,
        }
        let golden = include_str!("../../../tests/data/tokenizer_files.json");
        let golden: Golden = serde_json::from_str(golden).unwrap();
        assert!(golden.expressions.len() >= 23);
        for Expression { expression, text, pieces } in golden.expressions {
            let pattern = SplitPattern::Regex(translate(&expression));
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap();
            let mut found = PreTokenizedString::from(text.as_str());
            split.pre_tokenize(&mut found).unwrap();
            let found = found.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let found: Vec<_> = found.into_iter().map(|(piece, ..)| piece.to_owned()).collect();
            assert_eq!(found, pieces, "{expression} of {text:?}");
        }
    }

    #[test]
    fn differences_are_written_down() {
        let cases = [
            (r"\p{N}{1,3}+|a++", r"(?:\p{N}{1,3})+|a++"),
            ("(ab){2}?x{2,3}?y{,4}*", "(?:(ab){2})?x{2,3}?(?:y{0,4})*"),
            ("[ab]*?+", "(?:[ab]*?)+"),
            (r"^\s+$", r"(?:\A|(?<=\n)(?!\z))\s+(?m:$)"),
            ("(?m:.)(?-mi:a)", "(?s:.)(?-si:a)"),
            ("a(?i)b|c", "a(?i:b|c)"),
            ("(a(?i)b(?m).)c+", "(a(?i:b(?s:.)))c+"),
            (r"[[:alpha:]_]+[^[:^digit:]]", r"[[\p{Alphabetic}]_]+[^[^\p{Nd}]]"),
            (r"\<a\>{x}\{", r"<a>\{x\}\{"),
            (r"\p{^L}\P{^Lu}+", r"\P{L}\p{Lu}+"),
            (r"[]a~~&b--&&[b]]", r"[\]a\~\~\&b\--&&[b]]"),
            (r"(?<name>a)(?<=b)(?>c)(?!\S)", r"(?<name>a)(?<=b)(?>c)(?!\S)"),
        ];
        for (pattern, expected) in cases {
            assert_eq!(translate(pattern), expected, "{pattern}");
        }
    }
}
