//! The GGUF name of a Hugging Face pre-tokenizer.
//!
//! llama.cpp's converter identifies pre-tokenizers by hashing their output on a test text; this compares the rules
//! themselves.

use serde_json::Value as Json;

use crate::LoadError;
use crate::tokenizer::gguf_pre_tokenizer;

/// The name of the pre-tokenizer of a vocabulary whose merges do or do not apply to whole tokens.
///
/// # Errors
/// If GGUF has no name for it.
pub(super) fn name(pre_tokenizer: &Json, ignores_merges: bool) -> Result<&'static str, LoadError> {
    let steps = match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(pre_tokenizer),
    };
    let kinds: Vec<&str> = steps.iter().map(|step| step["type"].as_str().unwrap_or("none")).collect();
    let name = match kinds.as_slice() {
        // `use_regex` defaults to true; the expression is GPT-2's.
        ["ByteLevel"] if steps[0]["use_regex"].as_bool() != Some(false) => Some("gpt-2"),
        ["Digits", "ByteLevel"] if steps[0]["individual_digits"].as_bool() == Some(true) => Some("smollm"),
        [splits @ .., "ByteLevel"] if splits.iter().all(|kind| *kind == "Split") => {
            let patterns: Option<Vec<&str>> = steps[..splits.len()].iter().map(pattern).collect();
            patterns.and_then(|patterns| gguf_pre_tokenizer(&patterns, ignores_merges))
        }
        _ => None,
    };
    name.ok_or_else(|| LoadError::Unsupported {
        key: "pre_tokenizer".into(),
        value: kinds.join(" + "),
        reason: "GGUF export supports those of GPT-2, GPT-4o, Llama 3, Qwen 2, Tekken and SmolLM".into(),
    })
}

/// The expression of a step that cuts a text into its matches and what is between them. What matches is also all that is left
/// of a text that an inverted step removes the rest from, for expressions that match everything.
fn pattern(step: &Json) -> Option<&str> {
    let inverted = step["invert"].as_bool().unwrap_or(false);
    let cuts =
        matches!((step["behavior"].as_str(), inverted), (Some("Isolated"), false) | (Some("Removed"), true));
    step["pattern"]["Regex"].as_str().filter(|_| cuts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

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
                    {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated"},
                    {"type": "ByteLevel", "use_regex": false},
                ]}),
                "qwen2",
            ),
            (
                json!({"type": "Sequence", "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": GPT4O}, "behavior": "Removed", "invert": true},
                    {"type": "ByteLevel", "use_regex": false},
                ]}),
                "gpt-4o",
            ),
        ];
        for (pre_tokenizer, expected) in cases {
            assert_eq!(name(&pre_tokenizer, false).unwrap(), expected);
        }
    }

    #[test]
    fn unknown_pre_tokenizers_are_refused_by_name() {
        let message = name(&json!({"type": "Whitespace"}), false).unwrap_err().to_string();
        assert!(message.contains("Whitespace") && message.contains("Llama 3"), "{message}");
    }
}
