//! Bounds what the normalizer of a `tokenizer.json` may make of a text.
//!
//! The library normalizes the text of every added token at load, and every prompt. A file of a megabyte could make gigabytes
//! of that: by a long text that is put before each, by replacements that replace each other's output, or by a map that says it is
//! larger than it is, whose memory the library reserves first.

use serde_json::Value;

/// The most bytes that a normalizer may make of one. Compatibility forms make 11 of one at most; three replacements of a space by
/// `▁` in a row make 27.
const MAX_GROWTH: usize = 1024;

/// The most bytes that a normalizer may put before a text.
const MAX_PREFIX: usize = 1024;

/// The most steps of a normalizer.
const MAX_STEPS: usize = 64;

/// What a normalizer does to the length of a text.
struct Growth {
    factor: usize,
    prefix: usize,
    n_steps: usize,
}

/// Whether the normalizer of a file is within the bounds.
///
/// # Errors
/// What is not, and the bound.
pub(super) fn check(normalizer: &Value) -> Result<(), String> {
    let mut growth = Growth { factor: 1, prefix: 0, n_steps: 0 };
    growth.add(normalizer)
}

impl Growth {
    fn add(&mut self, part: &Value) -> Result<(), String> {
        if part["type"] == "Sequence" {
            let mut parts = part["normalizers"].as_array().into_iter().flatten();
            return parts.try_for_each(|part| self.add(part));
        }
        self.n_steps += 1;
        if self.n_steps > MAX_STEPS {
            return Err(format!("the normalizer has more than {MAX_STEPS} steps"));
        }
        let text = |name: &str| part[name].as_str().unwrap_or_default();
        match part["type"].as_str() {
            Some("Prepend") => self.prefix = self.prefix.saturating_add(text("prepend").len()),
            Some("Replace") => {
                let replaced = part["pattern"]["String"].as_str().map_or(1, |pattern| pattern.len().max(1));
                self.factor = self.factor.saturating_mul(text("content").len().div_ceil(replaced).max(1));
            }
            Some("Precompiled") => {
                let longest = longest_entry(text("precompiled_charsmap"))?;
                self.factor = self.factor.saturating_mul(longest.max(1));
            }
            _ => {}
        }
        if self.factor > MAX_GROWTH {
            let factor = self.factor;
            return Err(format!(
                "the normalizer may make {factor} bytes of one; at most {MAX_GROWTH} are accepted"
            ));
        }
        if self.prefix > MAX_PREFIX {
            let prefix = self.prefix;
            return Err(format!(
                "the normalizer puts {prefix} bytes before a text; at most {MAX_PREFIX} are accepted"
            ));
        }
        Ok(())
    }
}

/// The longest text in a map of characters: its length in bytes. The map is a number of bytes, a trie of that many, and texts that
/// zeros end, all in base 64.
fn longest_entry(map: &str) -> Result<usize, String> {
    let bytes = base64(map).ok_or("the precompiled map of the normalizer is not base 64")?;
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(format!("the precompiled map of the normalizer has only {} bytes", bytes.len()));
    };
    let size = u32::from_le_bytes(*size) as usize;
    let Some(texts) = rest.get(size..) else {
        let n_bytes = rest.len();
        return Err(format!(
            "the precompiled map of the normalizer has {n_bytes} bytes, but a trie of {size}; the file is damaged"
        ));
    };
    Ok(texts.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or_default())
}

/// Decodes base 64 with padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    let (mut bits, mut n_bits) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn normalizers_that_would_make_gigabytes_are_refused() {
        let sequence = |parts: Vec<Value>| json!({"type": "Sequence", "normalizers": parts});
        let replace =
            |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
        let cases = [
            (json!({"type": "Prepend", "prepend": "x".repeat(2000)}), "puts 2000 bytes before a text"),
            (sequence(vec![replace("a", "aa"); 40]), "may make 2048 bytes of one"),
            (replace(" ", &"y".repeat(5000)), "may make 5000 bytes of one"),
            (sequence(vec![json!({"type": "NFC"}); 65]), "more than 64 steps"),
            // A trie of 2^32 - 4 bytes.
            (
                json!({"type": "Precompiled", "precompiled_charsmap": "/P///w=="}),
                "has 0 bytes, but a trie of 4294967292",
            ),
            (json!({"type": "Precompiled", "precompiled_charsmap": "AA=="}), "only 1 bytes"),
            (json!({"type": "Precompiled", "precompiled_charsmap": "?"}), "base 64"),
        ];
        for (normalizer, expected) in cases {
            let message = check(&normalizer).unwrap_err();
            assert!(message.contains(expected), "{expected:?} is not in: {message}");
        }
    }

    #[test]
    fn published_normalizers_are_accepted() {
        let llama = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
        // A trie of 4 bytes, and the texts "ab" and "c".
        let map = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhYgBjAA=="});
        for normalizer in [Value::Null, json!({"type": "NFC"}), llama, map] {
            assert_eq!(check(&normalizer), Ok(()));
        }
        assert_eq!(longest_entry("BAAAAAAAAABhYgBjAA=="), Ok(2));
    }
}
