//! Escapes in text from the command line, as llama.cpp knows them.

/// The text with `\n`, `\r`, `\t`, `\\`, `\"`, `\'` and `\xHH` replaced by what they stand for. Every other backslash stays.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let known = match after.chars().next() {
            Some('n') => Some(('\n', 1)),
            Some('r') => Some(('\r', 1)),
            Some('t') => Some(('\t', 1)),
            Some(same @ ('\\' | '"' | '\'')) => Some((same, 1)),
            Some('x') => {
                let digits = after.get(1..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                digits
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                    .map(|code| (char::from(code), 3))
            }
            _ => None,
        };
        let (character, n_bytes) = known.unwrap_or(('\\', 0));
        out.push(character);
        rest = &after[n_bytes..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_escapes_are_replaced_and_others_stay() {
        for (text, expected) in [
            (r"a\nb\tc", "a\nb\tc"),
            (r"\\n", r"\n"),
            (r#"\"\'"#, "\"'"),
            (r"\x41\xe9\xg", "A\u{e9}\\xg"),
            (r"C:\dir\", r"C:\dir\"),
            (r"\x4", r"\x4"),
            ("é\\né", "é\né"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }
}
