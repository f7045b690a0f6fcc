//! Checks a grammar in Lark before it is compiled, and prepares the schemas within.

use serde_json::{Deserializer, Value};

use super::{schema, size};

/// Maximum number of intersections. The compiler's time may grow exponentially with them.
const MAX_INTERSECTIONS: usize = 16;

/// Refuses a grammar that is too large, and makes the schemas exact that follow `%json`.
///
/// # Errors
/// With the numbers; as [`schema::prepare`].
pub(super) fn prepare(grammar: &str) -> Result<String, String> {
    let mut prepared = String::with_capacity(grammar.len());
    let (mut n_parts, mut n_intersections) = (0, 0);
    let mut rest = grammar;
    while let Some(next) = rest.chars().next() {
        let n_bytes = match next {
            '%' if rest.starts_with("%json") => {
                let n_bytes = schema_after("%json", rest, &mut prepared)?;
                rest = &rest[n_bytes..];
                continue;
            }
            '"' => literal_len(rest, '"'),
            '/' if !rest.starts_with("//") => literal_len(rest, '/'),
            '/' | '#' => rest.find('\n').unwrap_or(rest.len()),
            _ => next.len_utf8(),
        };
        n_parts += usize::from(matches!(next, ':' | '(' | '['));
        n_intersections += usize::from(next == '&');
        prepared.push_str(&rest[..n_bytes]);
        rest = &rest[n_bytes..];
    }
    if n_parts > size::MAX_DEPTH {
        let limit = size::MAX_DEPTH;
        return Err(format!("it has {n_parts} rules and groups, and at most {limit} are possible"));
    }
    if n_intersections > MAX_INTERSECTIONS {
        return Err(format!(
            "it has {n_intersections} intersections with &, and at most {MAX_INTERSECTIONS} are possible"
        ));
    }
    Ok(prepared)
}

/// Appends the keyword and the schema after it, made exact. Returns the length of both in `text`.
fn schema_after(keyword: &str, text: &str, prepared: &mut String) -> Result<usize, String> {
    let mut values = Deserializer::from_str(&text[keyword.len()..]).into_iter::<Value>();
    let value = values.next().unwrap_or(Ok(Value::Null));
    let mut schema = value.map_err(|error| format!("the schema after {keyword} is not JSON: {error}"))?;
    size::check_schema(&schema)?;
    schema::prepare(&mut schema)?;
    prepared.push_str(keyword);
    prepared.push_str(&schema.to_string());
    Ok(keyword.len() + values.byte_offset())
}

/// The length of a text or regular expression between two marks, within the line.
fn literal_len(text: &str, mark: char) -> usize {
    let mut is_escaped = false;
    for (offset, character) in text.char_indices().skip(1) {
        match character {
            '\n' => return offset,
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == mark => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_intersections_are_counted_outside_of_texts() {
        let rules = |n: usize| (0..n).map(|i| format!("r{i}: r{}\n", i + 1)).collect::<String>();
        assert_eq!(prepare(&rules(5_000)), Ok(rules(5_000)));
        assert!(prepare(&rules(10_001)).unwrap_err().contains("10001 rules"));
        let texts = format!(
            "start: \"{}\" /\\/{}/ # {}",
            "&:\\\"".repeat(9_000),
            "&[".repeat(9_000),
            "&(".repeat(9_000)
        );
        assert_eq!(prepare(&texts), Ok(texts.clone()));
        let intersections = format!("T: /a/{}", " & /b/".repeat(17));
        assert!(prepare(&intersections).unwrap_err().contains("17 intersections"));
        for torn in ["start: \"a\n: /b\n", "é: \"", "/\\"] {
            assert_eq!(prepare(torn), Ok(torn.to_owned()));
        }
    }

    #[test]
    fn schemas_within_are_made_exact() {
        let prepared =
            prepare("start: %json {\"type\": \"integer\", \"maximum\": 9007199254740993} \"é\"\n").unwrap();
        assert_eq!(prepared, "start: %json{\"type\":\"integer\",\"maximum\":9007199254740992} \"é\"\n");
        let refused = prepare("start: %json {\"not\": {}}").unwrap_err();
        assert!(refused.starts_with("#/not: "), "{refused}");
        assert!(prepare("start: %json {").unwrap_err().contains("is not JSON"));
    }
}
