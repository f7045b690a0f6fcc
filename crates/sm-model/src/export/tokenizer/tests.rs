//! Tokenizers of Hugging Face directories, written as GGUF metadata.

use serde_json::json;

use super::metadata;
use crate::Gguf;
use crate::metadata::{Metadata, Value};
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

/// The metadata of a small tokenizer with this post-processor, and with these configurations beside it.
fn marked(
    post_processor: &serde_json::Value,
    tokenizer_config: &serde_json::Value,
) -> Result<Metadata, String> {
    let dir = std::env::temp_dir().join(format!("sm-export-marks-{:?}", std::thread::current().id()));
    std::fs::create_dir_all(&dir).unwrap();
    let added = |id: u32, content: &str| json!({ "id": id, "content": content, "special": true });
    let tokenizer = json!({
        "added_tokens": [added(1, "<s>"), added(2, "</s>"), added(3, "<sop>")],
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "use_regex": true },
        "post_processor": post_processor,
        "model": { "type": "BPE", "vocab": { "a": 0 }, "merges": [] },
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(dir.join("tokenizer_config.json"), tokenizer_config.to_string()).unwrap();
    let written = metadata(&dir, 4).map_err(|error| error.to_string());
    std::fs::remove_dir_all(&dir).unwrap();
    written
}

#[test]
fn tokens_around_a_text_are_expressed_or_refused() {
    let special = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let text = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let template = |pieces: &[&serde_json::Value]| json!({ "type": "TemplateProcessing", "single": pieces });
    let [bos, eos, sop] = ["<s>", "</s>", "<sop>"].map(special);
    let marks = |written: &Metadata| {
        let id = |name: &str| match written.value(&format!("tokenizer.ggml.{name}_token_id")) {
            Some(Value::U32(id)) => Some(*id),
            _ => None,
        };
        let adds = |name: &str| {
            written.value(&format!("tokenizer.ggml.add_{name}_token")) == Some(&Value::Bool(true))
        };
        (id("bos").filter(|_| adds("bos")), id("eos").filter(|_| adds("eos")))
    };
    let nothing = json!({});
    // As Llama 3, whose configurations need not name what the template adds.
    let llama =
        json!({ "type": "Sequence", "processors": [{ "type": "ByteLevel" }, template(&[&bos, &text])] });
    assert_eq!(marks(&marked(&llama, &nothing).unwrap()), (Some(1), None));
    let both = template(&[&bos, &text, &eos]);
    assert_eq!(marks(&marked(&both, &nothing).unwrap()), (Some(1), Some(2)));
    let roberta = json!({ "type": "RobertaProcessing", "cls": ["<s>", 1], "sep": ["</s>", 2] });
    assert_eq!(marks(&marked(&roberta, &nothing).unwrap()), (Some(1), Some(2)));
    assert_eq!(marks(&marked(&template(&[&text]), &json!({ "bos_token": "<s>" })).unwrap()), (None, None));
    // As ChatGLM, with two tokens before the text, and Cohere, with two after it.
    for two in [template(&[&bos, &sop, &text]), template(&[&bos, &text, &sop, &eos])] {
        let error = marked(&two, &nothing).unwrap_err();
        assert!(
            error.contains("one token before a text and one after it") && error.contains("<sop>"),
            "{error}"
        );
    }
    let error = marked(&both, &json!({ "bos_token": "<sop>" })).unwrap_err();
    assert!(error.contains("bos_token is \"<sop>\", but \"<s>\" is added"), "{error}");
}
