//! JSON as Python writes it: its `json` module also writes and reads `NaN`, `Infinity` and `-Infinity`, which are not JSON.
//!
//! Configurations have such numbers where a value is unused or unlimited. They are read as null, which counts as absent: no
//! field that we read can be infinite.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// Parses JSON with Python's extra numbers.
///
/// # Errors
/// The parser's.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        // The error of the text as it is names the right column.
        Err(error) => match without_extra_numbers(bytes) {
            Cow::Owned(plain) => serde_json::from_slice(&plain),
            Cow::Borrowed(_) => Err(error),
        },
    }
}

/// The text with null in place of each extra number.
fn without_extra_numbers(bytes: &[u8]) -> Cow<'_, [u8]> {
    const NUMBERS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut plain = Vec::new();
    let mut from = 0;
    let mut at = 0;
    let mut in_string = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            _ => {
                if let Some(number) = NUMBERS.iter().find(|number| bytes[at..].starts_with(number)) {
                    plain.extend_from_slice(&bytes[from..at]);
                    plain.extend_from_slice(b"null");
                    at += number.len();
                    from = at;
                    continue;
                }
            }
        }
        at += 1;
    }
    if from == 0 {
        return bytes.into();
    }
    plain.extend_from_slice(&bytes[from..]);
    plain.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_of_python_are_null() {
        let text = br#"{"a": [Infinity, -Infinity, NaN], "b\"": "NaN \\", "c": -1.5, "Infinity": NaN}"#;
        let expected = json!({"a": [null, null, null], "b\"": "NaN \\", "c": -1.5, "Infinity": null});
        assert_eq!(parse::<Value>(text).unwrap(), expected);
        for text in ["{\"a\": nan}", "{\"a\": Infinit}", "{\"a\": NaN", "[NaN NaN]", ""] {
            assert!(parse::<Value>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
