//! Golden encodings of llama.cpp's vocabularies, and agreement with the `tokenizer.json` of the same model.

use std::fs;

use super::*;
use crate::load::gguf::Gguf;
use crate::metadata::{Array, Value};
use crate::testing::data_dir;
use crate::tokenizer::{HfTokenizer, SpecialText, SpecialTokens};

/// The texts of a vocabulary, separated by lines with a marker, and their ids, a line per text.
fn golden(path: &std::path::Path) -> Vec<(String, Vec<TokenId>)> {
    let texts = fs::read_to_string(path.with_extension("gguf.inp")).unwrap();
    let ids = fs::read_to_string(path.with_extension("gguf.out")).unwrap();
    let texts: Vec<_> = texts.split("\n__ggml_vocab_test__\n").map(str::to_owned).collect();
    let ids =
        ids.lines().map(|line| line.split_whitespace().map(|id| TokenId(id.parse().unwrap())).collect());
    texts.into_iter().zip(ids).collect()
}

#[test]
fn encodings_match_llama_cpp() {
    let Some(data) = data_dir() else { return };
    let names =
        ["deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "llama-spm", "mpt", "phi-3", "starcoder"];
    for name in names {
        let path = data.join(format!("tokenizers/gguf-vocab/ggml-vocab-{name}.gguf"));
        let gguf = Gguf::open(&path).unwrap();
        let tokenizer = GgufTokenizer::from_metadata(gguf.metadata()).unwrap();
        let golden = golden(&path);
        assert!(golden.len() > 40, "{name}: {}", golden.len());
        for (text, ids) in golden {
            let options = EncodeOptions { marks: SequenceMarks::Omit, special_text: SpecialText::Plain };
            let found = tokenizer.encode(&text, options).unwrap();
            assert_eq!(found, ids, "{name}: {text:?}");
        }
    }
}

/// The metadata that a converter would write for a byte-level `tokenizer.json`.
fn converted(json: &serde_json::Value, pre: &str) -> Metadata {
    let added = json["added_tokens"].as_array().unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<_> = vocab.iter().map(|(text, id)| (id.as_u64().unwrap(), text.clone(), 1)).collect();
    tokens.extend(
        added
            .iter()
            .map(|token| (token["id"].as_u64().unwrap(), token["content"].as_str().unwrap().into(), 3)),
    );
    tokens.sort();
    let merges = json["model"]["merges"].as_array().unwrap().iter().map(|merge| match merge.as_array() {
        Some(pair) => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        None => merge.as_str().unwrap().to_owned(),
    });
    let mut metadata = Metadata::default();
    let text = |text: &str| Value::String(text.to_owned());
    metadata.insert("tokenizer.ggml.model", text("gpt2"));
    metadata.insert("tokenizer.ggml.pre", text(pre));
    metadata.insert("tokenizer.ggml.merges", Value::Array(Array::String(merges.collect())));
    let kinds = tokens.iter().map(|token| token.2).collect();
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    let texts = tokens.into_iter().map(|token| token.1).collect();
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
    metadata
}

#[test]
fn a_published_tokenizer_and_its_conversion_match_llama_cpp() {
    let Some(data) = data_dir() else { return };
    let cases = [
        ("qwen2", "llama.cpp-vocab/ggml-vocab-qwen2.gguf", Some("qwen2")),
        ("phi-3-mini", "gguf-vocab/ggml-vocab-phi-3.gguf", None),
    ];
    for (dir, vocab, pre) in cases {
        let dir = data.join("tokenizers").join(dir);
        let hf = HfTokenizer::load(&dir).unwrap();
        let json = serde_json::from_slice(&fs::read(dir.join("tokenizer.json")).unwrap()).unwrap();
        let gguf = pre.map(|pre| GgufTokenizer::from_metadata(&converted(&json, pre)).unwrap());
        let path = data.join("tokenizers").join(vocab);
        for (text, ids) in golden(&path) {
            assert_eq!(hf.encode(&text, EncodeOptions::PLAIN).unwrap(), ids, "{vocab}: {text:?}");
            if let Some(gguf) = &gguf {
                assert_eq!(gguf.encode(&text, EncodeOptions::PLAIN).unwrap(), ids, "{vocab}: {text:?}");
            }
        }
    }
}

#[test]
fn gguf_and_json_forms_of_a_tokenizer_agree() {
    let Some(data) = data_dir() else { return };
    let dir = data.join("models/stories260K/hf");
    let gguf = Gguf::open(&dir.join("stories260K-f32.gguf")).unwrap();
    let (gguf, hf) =
        (GgufTokenizer::from_metadata(gguf.metadata()).unwrap(), HfTokenizer::load(&dir).unwrap());
    let (ours, theirs) = (gguf.vocabulary(), hf.vocabulary());
    assert_eq!(ours.vocab_size(), theirs.vocab_size());
    assert_eq!((ours.bos(), ours.eos()), (theirs.bos(), theirs.eos()));
    assert_eq!(ours.end_of_generation(), theirs.end_of_generation());
    for id in (0..ours.vocab_size() as u32).map(TokenId) {
        assert_eq!(ours.token_bytes(id), theirs.token_bytes(id), "{id:?}");
        assert_eq!(ours.kind(id), theirs.kind(id), "{id:?}");
    }
    let stories = fs::read_to_string(data.join("text/tinystories_sample_2MiB.txt")).unwrap();
    let golden = fs::read_to_string(data.join("tokenizers/gpt2/golden_encode.jsonl")).unwrap();
    let golden = golden.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["text"].as_str().unwrap().to_owned()
    });
    let texts = stories.split("<|endoftext|>").take(50).map(str::to_owned).chain(golden);
    for text in texts.chain(["</s> a<s>b <unk>".to_owned(), String::new(), " ".to_owned()]) {
        for special_text in [SpecialText::Parse, SpecialText::Plain] {
            let options = EncodeOptions { marks: SequenceMarks::Add, special_text };
            let ids = gguf.encode(&text, options).unwrap();
            assert_eq!(ids, hf.encode(&text, options).unwrap(), "{special_text:?} {text:?}");
            let decoded = gguf.decode(&ids, SpecialTokens::Keep);
            assert_eq!(decoded, hf.decode(&ids, SpecialTokens::Keep), "{text:?}");
        }
    }
}

#[test]
fn malformed_metadata_is_refused_with_a_reason() {
    let texts =
        |texts: &[&str]| Value::Array(Array::String(texts.iter().map(|&text| text.to_owned()).collect()));
    let model = |name: &str| ("tokenizer.ggml.model", Value::String(name.to_owned()));
    let merges = |merges: &[&str]| ("tokenizer.ggml.merges", texts(merges));
    let cases: [(Vec<(&str, Value)>, &str); 11] = [
        (vec![("tokenizer.ggml.tokens", Value::U32(3)), model("llama")], "tokenizer.ggml.tokens"),
        (vec![("tokenizer.ggml.tokens", texts(&[])), model("llama")], "the vocabulary is empty"),
        (
            vec![("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0]))), model("llama")],
            "there are 3 tokens, but",
        ),
        (
            vec![("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1]))), model("llama")],
            "has 1 entries",
        ),
        (vec![("tokenizer.ggml.eos_token_id", Value::U32(3)), model("llama")], "eos has id 3, but"),
        (vec![("tokenizer.ggml.bos_token_id", Value::String("a".into())), model("llama")], "bos_token_id"),
        (
            vec![model("bert")],
            "tokenizer.ggml.model \"bert\" is not supported; supported: llama, gpt2, gemma4",
        ),
        (vec![model("gpt2")], "tokenizer.ggml.merges"),
        (vec![model("gpt2"), merges(&["a x"])], "`x` out of vocabulary"),
        (vec![model("gpt2"), merges(&["ab"])], "merge \"ab\" is not two tokens"),
        (
            vec![model("gpt2"), ("tokenizer.ggml.pre", Value::String("new".into()))],
            "tokenizer.ggml.pre \"new\"",
        ),
    ];
    for (entries, expected) in cases {
        let mut metadata = Metadata::default();
        metadata.insert("tokenizer.ggml.tokens", texts(&["a", "b", "ab"]));
        for (key, value) in entries {
            metadata.insert(key, value);
        }
        let message = GgufTokenizer::from_metadata(&metadata).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected:?} is not in: {message}");
    }
}

/// A `llama` vocabulary of these tokens and types, with other entries.
fn spm(tokens: &[(&str, i32)], entries: &[(&str, Value)]) -> GgufTokenizer {
    let mut metadata = Metadata::default();
    let texts = tokens.iter().map(|&(text, _)| text.to_owned()).collect();
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(texts)));
    let types = tokens.iter().map(|&(_, kind)| kind).collect();
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    metadata.insert("tokenizer.ggml.model", Value::String("llama".to_owned()));
    metadata.insert("tokenizer.ggml.add_bos_token", Value::Bool(false));
    metadata.insert("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    for (key, value) in entries {
        metadata.insert(*key, value.clone());
    }
    GgufTokenizer::from_metadata(&metadata).unwrap()
}

#[test]
fn repeated_tokens_and_padding_beyond_the_vocabulary_are_no_reason_to_refuse_a_file() {
    let tokens = [("<unk>", 2), ("a", 1), ("b", 1), ("a", 1), ("a", 1)];
    let id = |key, id| (key, Value::U32(id));
    let tokenizer =
        spm(&tokens, &[id("tokenizer.ggml.padding_token_id", 7), id("tokenizer.ggml.unknown_token_id", 5)]);
    assert_eq!(tokenizer.encode("ab", EncodeOptions::PROMPT).unwrap(), [1, 2].map(TokenId));
    assert_eq!(tokenizer.decode(&[3, 2, 4].map(TokenId), SpecialTokens::Skip), "aba");
    assert_eq!((tokenizer.vocabulary().padding(), tokenizer.vocabulary().unknown()), (None, None));
}

#[test]
fn known_ends_of_turns_are_control_tokens_whatever_their_type() {
    // Types: 1 normal, 3 control, 4 user-defined, 5 unused.
    let tokens = [
        ("<unk>", 2),
        ("<s>", 3),
        ("<eos>", 3),
        ("a", 1),
        ("<end_of_turn>", 1),
        ("<|im_end|>", 4),
        ("<EOT>", 5),
        ("</s>", 1),
        ("<|other|>", 1),
        ("[stop]", 1),
        ("[more]", 1),
    ];
    let id = |key, id| (key, Value::U32(id));
    let tokenizer =
        spm(&tokens, &[id("tokenizer.ggml.eot_token_id", 9), id("tokenizer.ggml.eom_token_id", 10)]);
    let vocabulary = tokenizer.vocabulary();
    assert_eq!(vocabulary.end_of_generation(), [2, 4, 5, 6, 9, 10].map(TokenId));
    for (id, kind) in [(4, TokenKind::Control), (5, TokenKind::Control), (7, TokenKind::Normal)] {
        assert_eq!(vocabulary.kind(TokenId(id)), kind, "{id}");
    }
    let ids = tokenizer.encode("a<end_of_turn>a", EncodeOptions::PROMPT).unwrap();
    assert_eq!(ids, [3, 4, 3].map(TokenId));
    assert_eq!(tokenizer.decode(&ids, SpecialTokens::Skip), "aa");
}

#[test]
fn text_without_a_token_cannot_be_encoded() {
    let mut metadata = Metadata::default();
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(vec!["▁a".into(), "a".into()])));
    metadata.insert("tokenizer.ggml.model", Value::String("llama".to_owned()));
    metadata.insert("tokenizer.ggml.add_bos_token", Value::Bool(false));
    let tokenizer = GgufTokenizer::from_metadata(&metadata).unwrap();
    let message = tokenizer.encode("ab", EncodeOptions::PROMPT).unwrap_err().to_string();
    assert!(message.contains("no token for \"b\""), "{message}");
}

#[test]
fn a_vocabulary_of_characters_falls_back_to_bytes() {
    let tokens = ["<pad>", "▁", "a", "b", "ab", "▁ab", "<0xC3>", "<0xA9>", "\n", "\n\n"];
    let kinds = vec![3, 1, 1, 1, 1, 1, 6, 6, 1, 1];
    let mut metadata = Metadata::default();
    let texts = |texts: &[&str]| Value::Array(Array::String(texts.iter().map(|&text| text.into()).collect()));
    metadata.insert("tokenizer.ggml.tokens", texts(&tokens));
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    metadata.insert("tokenizer.ggml.merges", texts(&["a b", "▁ ab", "\n \n"]));
    for (model, pre) in [("gemma4", "default"), ("gpt2", "sarvam-moe")] {
        metadata.insert("tokenizer.ggml.model", Value::String(model.into()));
        metadata.insert("tokenizer.ggml.pre", Value::String(pre.into()));
        let tokenizer = GgufTokenizer::from_metadata(&metadata).unwrap();
        let text = "ab abé\n\n a";
        let ids = tokenizer.encode(text, EncodeOptions::PLAIN).unwrap();
        assert_eq!(ids, [4, 5, 6, 7, 9, 1, 2].map(TokenId), "{model}");
        assert_eq!(tokenizer.decode(&ids, SpecialTokens::Skip), text, "{model}");
    }
}
