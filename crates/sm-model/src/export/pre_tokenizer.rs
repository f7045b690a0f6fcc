//! The GGUF name of a Hugging Face pre-tokenizer.
//!
//! llama.cpp's converter identifies pre-tokenizers by hashing their output on a test text; this compares the rules
//! themselves.

use serde_json::Value as Json;

use crate::LoadError;

/// Pre-tokenizers that split by one regular expression, and their names.
const PATTERNS: [(&str, &str); 2] = [
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "llama-bpe",
    ),
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen2",
    ),
];

/// The name of the pre-tokenizer.
///
/// # Errors
/// If GGUF has no name for it.
pub(super) fn name(pre_tokenizer: &Json) -> Result<&'static str, LoadError> {
    let steps = match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(pre_tokenizer),
    };
    let kinds: Vec<&str> = steps.iter().map(|step| step["type"].as_str().unwrap_or("none")).collect();
    let name = match kinds.as_slice() {
        // `use_regex` defaults to true; the expression is GPT-2's.
        ["ByteLevel"] if steps[0]["use_regex"].as_bool() != Some(false) => Some("gpt-2"),
        ["Digits", "ByteLevel"] if steps[0]["individual_digits"].as_bool() == Some(true) => Some("smollm"),
        ["Split", "ByteLevel"] => {
            let pattern = steps[0]["pattern"]["Regex"].as_str().unwrap_or_default();
            PATTERNS.iter().find(|(known, _)| *known == pattern).map(|(_, name)| *name)
        }
        _ => None,
    };
    name.ok_or_else(|| LoadError::Unsupported {
        key: "pre_tokenizer".into(),
        value: kinds.join(" + "),
        reason: "GGUF export supports those of GPT-2, Llama 3, Qwen 2 and SmolLM".into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn known_pre_tokenizers_have_names() {
        let cases = [
            (json!({"type": "ByteLevel", "add_prefix_space": false}), "gpt-2"),
            (
                json!({"type": "Sequence", "pretokenizers": [
                    {"type": "Digits", "individual_digits": true},
                    {"type": "ByteLevel", "use_regex": true},
                ]}),
                "smollm",
            ),
            (
                json!({"type": "Sequence", "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": PATTERNS[1].0}, "behavior": "Isolated"},
                    {"type": "ByteLevel", "use_regex": false},
                ]}),
                "qwen2",
            ),
        ];
        for (pre_tokenizer, expected) in cases {
            assert_eq!(name(&pre_tokenizer).unwrap(), expected);
        }
    }

    #[test]
    fn unknown_pre_tokenizers_are_refused_by_name() {
        let message = name(&json!({"type": "Whitespace"})).unwrap_err().to_string();
        assert!(message.contains("Whitespace") && message.contains("Llama 3"), "{message}");
    }
}
