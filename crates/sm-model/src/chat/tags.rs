//! Preprocesses a template's tags: rewrites those the engine does not support, and bounds those it cannot handle.

use std::borrow::Cow;

use super::python::BOUNDED;

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

/// The template, with two changes that keep its line numbers:
/// * `{% generation %} … {% endgeneration %}`, which marks text to train on, becomes a block without effect;
/// * values assigned to namespaces go through the filter [`BOUNDED`]: a loop can only grow a value without limit, or build
///   one that contains itself, through a namespace.
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
        if kind == '{' {
            out.push_str(&body[..len]);
        } else {
            out.push_str(&statement(&body[..len]));
            if name(&body[..len]).1 == "raw" {
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
        _ => body.into(),
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
            ("{%- set ns.x = a ~ '-%}' -%}b", "{%- set ns.x = ( a ~ '-%}' ) | __bounded -%}b"),
            ("{% set x = {'a.b': 1} %}", "{% set x = {'a.b': 1} %}"),
            (
                "{# {% generation %} #}{{ '{% generation %}' }}{",
                "{# {% generation %} #}{{ '{% generation %}' }}{",
            ),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{{ {'a': {'b': 1}} }}{%generation%}", "{{ {'a': {'b': 1}} }}{%with%}"),
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
