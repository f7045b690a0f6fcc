//! Preprocesses a template's tags: rewrites those the engine does not support, and bounds those it cannot handle.

use std::borrow::Cow;

use super::operands;
use super::python::{BOUNDED, ITERABLE};

/// Maximum code in a tag, in bytes outside strings: compile time is quadratic in the length of an operator chain.
const MAX_CODE_BYTES: usize = 2048;

/// A tag with too much code.
#[derive(Debug, PartialEq)]
pub(super) struct TagTooLong {
    /// Line of the template, from 1.
    pub(super) line: usize,
    /// Bytes of code in the tag.
    pub(super) n_bytes: usize,
}

impl TagTooLong {
    pub(super) fn reason(&self) -> String {
        format!("a tag has {} bytes of code, but at most {MAX_CODE_BYTES} are accepted", self.n_bytes)
    }
}

/// The template, with changes that keep its line numbers:
/// * `{% generation %} … {% endgeneration %}`, which marks text to train on, becomes a block without effect;
/// * values assigned to namespaces go through the filter [`BOUNDED`]: only through a namespace can a loop grow a value without
///   limit, or build one that contains itself;
/// * what a loop iterates goes through the filter [`ITERABLE`];
/// * values that the engine prints, compares or hashes within an expression are [walked](operands);
/// * strings are written with the escapes that the engine knows.
pub(super) fn prepare(template: &str) -> Result<String, TagTooLong> {
    let mut out = String::with_capacity(template.len());
    let mut at = 0;
    while let Some(offset) = template[at..].find('{') {
        let open = at + offset;
        out.push_str(&template[at..open]);
        let rest = &template[open..];
        let Some(kind @ ('{' | '%' | '#')) = rest[1..].chars().next() else {
            out.push('{');
            at = open + 1;
            continue;
        };
        if kind == '#' {
            at = rest.find("#}").map_or(template.len(), |end| open + end + 2);
            out.push_str(&template[open..at]);
            continue;
        }
        let body = &rest[2..];
        let (len, n_bytes) = code(body);
        if n_bytes > MAX_CODE_BYTES {
            return Err(TagTooLong { line: template[..open].matches('\n').count() + 1, n_bytes });
        }
        out.push_str(&rest[..2]);
        at = open + 2 + len;
        let code = strings(&body[..len]);
        if kind == '{' {
            let control = usize::from(code.starts_with(['-', '+']));
            out.push_str(&operands::walk(&code, control, false));
        } else {
            let (start, word) = name(&code);
            out.push_str(&statement(&operands::walk(&code, start + word.len(), word == "for")));
            if word == "raw" {
                let end = template[at..].find("endraw").map_or(template.len(), |end| at + end);
                out.push_str(&template[at..end]);
                at = end;
            }
        }
    }
    out.push_str(&template[at..]);
    Ok(out)
}

/// The length of the code up to the end of its tag, and its length outside strings.
fn code(body: &str) -> (usize, usize) {
    let mut quote = None;
    let mut escaped = false;
    let mut n_braces = 0_usize;
    let mut n_bytes = 0;
    let mut characters = body.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if let Some(open) = quote {
            if character == open && !escaped {
                quote = None;
            }
            escaped = character == '\\' && !escaped;
            continue;
        }
        let closes = characters.peek().is_some_and(|&(_, next)| next == '}');
        match character {
            '"' | '\'' => quote = Some(character),
            '%' if closes => return (at, n_bytes),
            '}' if closes && n_braces == 0 => return (at, n_bytes),
            '{' => n_braces += 1,
            '}' => n_braces = n_braces.saturating_sub(1),
            _ => {}
        }
        n_bytes += character.len_utf8();
    }
    (body.len(), n_bytes)
}

/// The first word of a statement, and where it starts.
fn name(body: &str) -> (usize, &str) {
    let start = body.len() - body.trim_start_matches(['-', '+']).trim_start().len();
    let len = body[start..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(body.len() - start);
    (start, &body[start..start + len])
}

fn statement(body: &str) -> Cow<'_, str> {
    let (start, word) = name(body);
    let (before, after) = (&body[..start], &body[start + word.len()..]);
    match word {
        "generation" => format!("{before}with{after}").into(),
        "endgeneration" => format!("{before}endwith{after}").into(),
        "set" => match after.split_once('=') {
            Some((target, value)) if target.contains('.') => {
                let end = value.strip_suffix(['-', '+']).unwrap_or(value);
                let control = &value[end.len()..];
                format!("{before}set{target}= ({end}) | {BOUNDED} {control}").into()
            }
            _ => body.into(),
        },
        "for" => loop_over(body, start).map_or_else(|| body.into(), Into::into),
        _ => body.into(),
    }
}

/// A `for` statement, which starts at `start`, whose iterated value goes through [`ITERABLE`].
fn loop_over(body: &str, start: usize) -> Option<String> {
    let words = words(body);
    let (_, from) = *words.iter().find(|(word, at)| *word == "in" && *at > start)?;
    let from = from + "in".len();
    let end = words.iter().find(|(word, at)| *at > from && matches!(*word, "if" | "recursive"));
    let without_control = body.strip_suffix(['-', '+']).unwrap_or(body).len();
    let end = end.map_or(without_control, |&(_, at)| at);
    let (head, value, tail) = (&body[..from], &body[from..end], &body[end..]);
    Some(format!("{head} ({value}) | {ITERABLE} {tail}"))
}

/// The words outside of strings and brackets, with their places.
fn words(body: &str) -> Vec<(&str, usize)> {
    let mut words = Vec::new();
    let mut word = None;
    let mut depth = 0_usize;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, character) in body.char_indices().chain([(body.len(), ' ')]) {
        let is_word = quote.is_none() && depth == 0 && (character.is_alphanumeric() || character == '_');
        match (is_word, word) {
            (true, None) => word = Some(at),
            (false, Some(start)) => {
                words.push((&body[start..at], start));
                word = None;
            }
            _ => {}
        }
        match (quote, character) {
            (Some(open), _) => {
                if character == open && !escaped {
                    quote = None;
                }
                escaped = character == '\\' && !escaped;
            }
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    words
}

/// Code whose strings are written with the engine's escapes. Python knows more: a backslash before a line end joins the lines. The
/// line break moves behind the string, where it has no meaning.
fn strings(code: &str) -> Cow<'_, str> {
    if !code.contains('\\') {
        return code.into();
    }
    let mut out = String::with_capacity(code.len());
    let mut quote = None;
    let mut n_joined = 0;
    let mut characters = code.chars().peekable();
    while let Some(character) = characters.next() {
        match quote {
            Some(open) if character == open => {
                quote = None;
                out.push(character);
                out.extend(std::iter::repeat_n('\n', n_joined));
                n_joined = 0;
                continue;
            }
            None if matches!(character, '"' | '\'') => quote = Some(character),
            Some(_) if character == '\\' => {
                let escaped = characters.next();
                if escaped == Some('\r') {
                    characters.next_if_eq(&'\n');
                }
                match escaped {
                    Some('\n' | '\r') => n_joined += 1,
                    Some('/') => out.push_str(r"\\/"),
                    Some('a') => out.push_str(r"\x07"),
                    Some('v') => out.push_str(r"\x0b"),
                    Some('U') => out.push_str(&long_escape(&mut characters)),
                    _ => {
                        out.push('\\');
                        out.extend(escaped);
                    }
                }
                continue;
            }
            _ => {}
        }
        out.push(character);
    }
    out.into()
}

/// The character that the eight digits behind `\U` name, or what is written there if it is none.
fn long_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let digits: String = characters.clone().take(8).collect();
    let named = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
    match named.filter(|_| digits.len() == 8) {
        Some(character) => {
            let _ = characters.nth(7);
            character.to_string()
        }
        None => r"\\U".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_rewritten_in_place() {
        let cases = [
            (
                "a{%- generation -%}\n{% if x %}{%endgeneration%} {% generations %}{%",
                "a{%- with -%}\n{% if x %}{%endwith%} {% generations %}{%",
            ),
            (
                "{%- set ns.x = a ~ '-%}' -%}b{{- -c ~ d -}}",
                "{%- set ns.x = ( (a)|__walked ~ '-%}' ) | __bounded -%}b{{- (-c)|__walked ~ (d)|__walked -}}",
            ),
            ("{% set x = {'a.b': 1} %}", "{% set x = {'a.b': 1} %}"),
            (
                "{# {% generation %} #}{{ '{% generation %}' }}{",
                "{# {% generation %} #}{{ '{% generation %}' }}{",
            ),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{{ {'a': {'b': 1}} }}{%generation%}", "{{ {'a': {'b': 1}} }}{%with%}"),
            ("{%- for a in x -%}", "{%- for a in ( x ) | __iterable -%}"),
            (
                "{% for k, v in f(' if ', [1 if a else 2]) if k in v recursive %}",
                "{% for k, v in ( f(' if ', [1 if a else 2]) ) | __iterable if (k)|__walked in (v)|__walked recursive %}",
            ),
            ("{{ 'a\\\nb\\n' ~ \"\\'\\/\\U0001F600\" }}", "{{ 'ab\\n'\n ~ \"\\'\\\\/😀\" }}"),
        ];
        for (template, expected) in cases {
            assert_eq!(prepare(template).unwrap(), expected);
        }
    }

    #[test]
    fn long_strings_are_accepted_and_long_code_is_refused() {
        assert!(prepare(&format!("{{{{ '{}' }}}}", "x".repeat(9000))).is_ok());
        let error = prepare(&format!("\n{{{{ {} }}}}", "-".repeat(MAX_CODE_BYTES))).unwrap_err();
        assert_eq!(error, TagTooLong { line: 2, n_bytes: MAX_CODE_BYTES + 2 });
    }
}
