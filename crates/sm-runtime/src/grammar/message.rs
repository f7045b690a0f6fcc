//! Messages of the compiler, in one line and in words about the user's grammar.

/// Longest message, in characters.
const MAX_CHARS: usize = 300;

/// What the compiler says, without the excerpts and stack traces on the lines after it.
pub(super) fn of_compiler(error: &str) -> String {
    if error.starts_with("panic: ") {
        return "the compiler cannot handle it; it may be too large".to_owned();
    }
    // The parser of regular expressions draws the place on the lines between.
    if let Some(reason) = error.lines().find_map(|line| line.strip_prefix("error: ")) {
        return shortened(&format!("a regular expression cannot be used: {reason}"));
    }
    let line = error.lines().next().unwrap_or_default();
    let line = line.trim_end_matches("<non-verbose/>").trim();
    let (place, rest) = place(line).unwrap_or((String::new(), line));
    shortened(&(place + rest))
}

/// Reads a place such as `at 1(8): ` from the beginning of a message.
fn place(line: &str) -> Option<(String, &str)> {
    let (place, rest) = line.strip_prefix("at ").unwrap_or(line).split_once("): ")?;
    let (row, column) = place.split_once('(')?;
    let (row, column): (u32, u32) = (row.parse().ok()?, column.parse().ok()?);
    Some((format!("line {row}, column {column}: "), rest))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_one_line_with_the_place() {
        for (error, expected) in [
            ("at 1(8): unknown name: \"b\"\n   1 | start: b\n", "line 1, column 8: unknown name: \"b\""),
            ("2(3): lexer error\n  1 | x", "line 2, column 3: lexer error"),
            ("something (else): is wrong\n<non-verbose/>", "something (else): is wrong"),
            (
                "regex parse error:\n  (\n  ^\nerror: unclosed group",
                "a regular expression cannot be used: unclosed group",
            ),
            (
                "panic: assertion failed\n<backtrace>\n 0: x",
                "the compiler cannot handle it; it may be too large",
            ),
        ] {
            assert_eq!(of_compiler(error), expected);
        }
        assert_eq!(of_compiler(&"é".repeat(400)).chars().count(), MAX_CHARS + 1);
    }
}
