//! Text from outside, such as names of files, without control characters that would command the terminal.

use std::path::Path;

/// The path of a file on one line, without control characters.
pub(crate) fn shown(path: &Path) -> String {
    escaped(&path.display().to_string(), char::is_control)
}

/// The text with some characters escaped as in a Rust string.
pub(crate) fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if is_escaped(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_a_path_are_escaped() {
        assert_eq!(shown(Path::new("a\u{1b}[31mb\nc\u{9b}é.gguf")), "a\\u{1b}[31mb\\nc\\u{9b}é.gguf");
    }
}
