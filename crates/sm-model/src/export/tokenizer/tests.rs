//! Tokenizers of Hugging Face directories, written as GGUF metadata.

use super::metadata;
use crate::Gguf;
use crate::metadata::Value;
use crate::testing::data_dir;
use crate::tokenizer::{EncodeOptions, GgufTokenizer, Tokenizer, load_tokenizer};

#[test]
fn metadata_match_another_converter() {
    let Some(data) = data_dir() else { return };
    let dir = data.join("models/stories260K/hf");
    let file = Gguf::open(&dir.join("stories260K-f32.gguf")).unwrap();
    let written = metadata(&dir, 512).unwrap();
    for key in [
        "model",
        "tokens",
        "token_type",
        "bos_token_id",
        "eos_token_id",
        "unknown_token_id",
        "add_bos_token",
        "add_space_prefix",
    ] {
        let key = format!("tokenizer.ggml.{key}");
        assert_eq!(written.value(&key), file.metadata().value(&key), "{key}");
    }
}

#[test]
fn byte_level_vocabularies_have_merges_and_a_pre_tokenizer() {
    let Some(data) = data_dir() else { return };
    for (name, vocab_size, pre) in
        [("gpt2", 50_257, "gpt-2"), ("qwen2", 151_936, "qwen2"), ("qwen3", 151_936, "qwen2")]
    {
        let written = metadata(&data.join("tokenizers").join(name), vocab_size).unwrap();
        assert_eq!(written.value("tokenizer.ggml.model"), Some(&Value::String("gpt2".into())), "{name}");
        assert_eq!(written.value("tokenizer.ggml.pre"), Some(&Value::String(pre.into())), "{name}");
        let merges: &[String] = written.require("tokenizer.ggml.merges").unwrap();
        assert!(merges.len() > 49_000 && merges.contains(&"Ġ t".to_owned()), "{name}");
        let tokens: &[String] = written.require("tokenizer.ggml.tokens").unwrap();
        assert_eq!((tokens.len(), tokens[0].as_str()), (vocab_size, "!"), "{name}");
    }
}

#[test]
fn written_tokenizers_encode_like_the_originals() {
    let Some(data) = data_dir() else { return };
    for name in ["gpt2", "mistral-7b-v0.1-instruct", "phi-3-mini", "qwen2", "qwen3"] {
        let dir = data.join("tokenizers").join(name);
        let original = load_tokenizer(&dir).unwrap();
        let vocab_size = original.vocabulary().vocab_size();
        let written = GgufTokenizer::from_metadata(&metadata(&dir, vocab_size).unwrap()).unwrap();
        let golden = std::fs::read_to_string(dir.join("golden_encode.jsonl")).unwrap();
        for line in golden.lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = case["text"].as_str().unwrap();
            // GGUF has no key for Unicode normalization, which Qwen's tokenizer applies.
            if name.starts_with("qwen") && text.contains('\u{301}') {
                continue;
            }
            for options in [EncodeOptions::PROMPT, EncodeOptions::RENDERED_CHAT] {
                let (found, expected) =
                    (written.encode(text, options).unwrap(), original.encode(text, options).unwrap());
                assert_eq!(found, expected, "{name}: {text:?} {options:?}");
            }
        }
    }
}

#[test]
fn scores_order_tokens_like_the_trained_ones() {
    let Some(data) = data_dir() else { return };
    let dir = data.join("models/stories260K/hf");
    let file = Gguf::open(&dir.join("stories260K-f32.gguf")).unwrap();
    let key = "tokenizer.ggml.scores";
    let trained: &[f32] = file.metadata().require(key).unwrap();
    let written = metadata(&dir, trained.len()).unwrap();
    let written: &[f32] = written.require(key).unwrap();
    // Bytes and single characters are never merged, so their scores have no meaning.
    let first = (0..trained.len()).find(|&id| trained[id] < 0.0).unwrap();
    let merged: Vec<usize> = (first..trained.len()).filter(|&id| written[id] < 0.0).collect();
    assert!(merged.len() > 100, "{}", merged.len());
    for pair in merged.windows(2) {
        assert_eq!(trained[pair[0]] > trained[pair[1]], written[pair[0]] > written[pair[1]], "{pair:?}");
    }
}

#[test]
fn a_missing_tokenizer_is_refused_only_if_there_is_another_kind() {
    let dir = std::env::temp_dir().join(format!("sm-export-tokenizer-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let none = metadata(&dir, 8).unwrap();
    assert_eq!(none.value("tokenizer.ggml.model"), Some(&Value::String("none".into())));
    std::fs::write(dir.join("tokenizer.model"), b"").unwrap();
    let message = metadata(&dir, 8).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json"), "{message}");
    std::fs::remove_dir_all(&dir).unwrap();
}
