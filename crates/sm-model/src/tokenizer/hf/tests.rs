//! Golden encodings and decodings of published tokenizers, and hostile files.

use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::testing::data_dir;
use crate::tokenizer::{CharTokenizer, GgufTokenizer, SpecialTokens, TextStream, UnknownCharacter};

#[derive(Deserialize)]
struct Golden {
    text: String,
    ids_with_special: Vec<u32>,
    ids: Vec<u32>,
    decoded: String,
    decoded_skip_special: String,
}

#[test]
fn encodings_and_decodings_match_transformers() {
    let Some(data) = data_dir() else { return };
    for name in ["gpt2", "qwen2", "qwen3", "mistral-7b-v0.1-instruct", "phi-3-mini"] {
        let dir = data.join("tokenizers").join(name);
        let tokenizer = HfTokenizer::load(&dir).unwrap();
        let golden = fs::read_to_string(dir.join("golden_encode.jsonl")).unwrap();
        assert_eq!(golden.lines().count(), 18);
        for line in golden.lines() {
            let golden: Golden = serde_json::from_str(line).unwrap();
            let ids = |marks| {
                let options = EncodeOptions { marks, special_text: SpecialText::Parse };
                tokenizer.encode(&golden.text, options).unwrap()
            };
            let text = &golden.text;
            assert_eq!(ids(SequenceMarks::Add), to_ids(&golden.ids_with_special), "{name}: {text:?}");
            assert_eq!(ids(SequenceMarks::Omit), to_ids(&golden.ids), "{name}: {text:?}");
            let all = to_ids(&golden.ids);
            assert_eq!(tokenizer.decode(&all, SpecialTokens::Keep), golden.decoded, "{name}: {text:?}");
            assert_eq!(
                tokenizer.decode(&all, SpecialTokens::Skip),
                golden.decoded_skip_special,
                "{name}: {text:?}"
            );
        }
    }
}

fn to_ids(ids: &[u32]) -> Vec<TokenId> {
    ids.iter().copied().map(TokenId).collect()
}

/// A tokenizer of each kind.
fn tokenizers() -> Vec<Arc<dyn Tokenizer>> {
    let Some(data) = data_dir() else { return Vec::new() };
    let gguf = crate::Gguf::open(&data.join("models/stories260K/hf/stories260K-f32.gguf")).unwrap();
    vec![
        Arc::new(HfTokenizer::load(&data.join("models/stories260K/hf")).unwrap()),
        Arc::new(HfTokenizer::load(&data.join("tokenizers/gpt2")).unwrap()),
        Arc::new(GgufTokenizer::from_metadata(gguf.metadata()).unwrap()),
        Arc::new(CharTokenizer::new("abc é日😁", UnknownCharacter::Skip).unwrap()),
    ]
}

fn streamed(tokenizer: &Arc<dyn Tokenizer>, ids: &[TokenId], specials: SpecialTokens) -> String {
    let mut stream = TextStream::new(tokenizer.clone(), specials);
    let mut text: String = ids.iter().map(|&id| stream.push(id).to_owned()).collect();
    text.push_str(stream.finish());
    text
}

#[test]
fn streamed_pieces_add_up_to_the_text_decoded_at_once() {
    let tokenizers = tokenizers();
    let texts = ["Hello world", "  two  spaces", "naïve café 日本語 😁👩\u{200d}👩", "", " ", "\n\t<s>x</s>"];
    for tokenizer in &tokenizers {
        for text in texts {
            let ids = tokenizer.encode(text, EncodeOptions::PROMPT).unwrap();
            for specials in [SpecialTokens::Keep, SpecialTokens::Skip] {
                assert_eq!(streamed(tokenizer, &ids, specials), tokenizer.decode(&ids, specials), "{text:?}");
            }
        }
    }
    let any_ids = proptest::collection::vec(any::<u32>(), 0..60);
    proptest!(ProptestConfig::with_cases(300), |(ids in any_ids)| {
        for tokenizer in &tokenizers {
            let vocab_size = tokenizer.vocabulary().vocab_size() as u32;
            // One id in eight is anywhere in the vocabulary or just beyond it, the others are byte tokens.
            let ids: Vec<_> = ids
                .iter()
                .map(|&id| TokenId(if id % 8 == 0 { id / 8 % (vocab_size + 9) } else { id / 8 % 256.min(vocab_size) }))
                .collect();
            for specials in [SpecialTokens::Keep, SpecialTokens::Skip] {
                let whole = tokenizer.decode(&ids, specials);
                prop_assert_eq!(streamed(tokenizer, &ids, specials), whole);
            }
        }
    });
}

#[test]
fn a_completion_keeps_its_leading_space() {
    let Some(tokenizer) = tokenizers().into_iter().next() else { return };
    let prompt = tokenizer.encode("Once upon", EncodeOptions::PROMPT).unwrap();
    let whole = tokenizer.encode("Once upon a time", EncodeOptions::PROMPT).unwrap();
    let (start, rest) = whole.split_at(prompt.len());
    assert_eq!(start, prompt);
    let mut stream = TextStream::after_text(tokenizer.clone(), SpecialTokens::Skip);
    let text: String = rest.iter().map(|&id| stream.push(id).to_owned()).collect();
    assert_eq!(text, " a time");
    assert_eq!(tokenizer.decode(rest, SpecialTokens::Skip), "a time");
}

#[test]
fn special_tokens_come_from_the_configuration() {
    let Some(data) = data_dir() else { return };
    let qwen3 = HfTokenizer::load(&data.join("tokenizers/qwen3")).unwrap();
    let vocabulary = qwen3.vocabulary();
    assert_eq!((vocabulary.bos(), vocabulary.eos()), (Some(TokenId(151_643)), Some(TokenId(151_645))));
    assert_eq!(vocabulary.end_of_generation(), [TokenId(151_643), TokenId(151_645)]);
    let plain = qwen3.encode("<|im_end|>", EncodeOptions::PLAIN).unwrap();
    assert!(plain.len() > 1 && !plain.iter().any(|&id| vocabulary.ends_generation(id)), "{plain:?}");
    assert_eq!(qwen3.encode("<|im_end|>", EncodeOptions::RENDERED_CHAT).unwrap(), [TokenId(151_645)]);
    let phi3 = HfTokenizer::load(&data.join("tokenizers/phi-3-mini")).unwrap();
    assert!(phi3.vocabulary().ends_generation(TokenId(32_007)), "<|end|>");
}

#[test]
fn a_guarded_text_has_the_tokens_of_the_same_text_without_the_special_ones() {
    let Some(data) = data_dir() else { return };
    for (name, special) in
        [("qwen3", "<|im_end|>"), ("mistral-7b-v0.1-instruct", "</s>"), ("gpt2", "<|endoftext|>")]
    {
        let tokenizer: Arc<dyn Tokenizer> =
            Arc::new(HfTokenizer::load(&data.join("tokenizers").join(name)).unwrap());
        for (before, after) in [("", ""), ("Hi ", " there, 日本"), ("\u{100000}é", "\n\nx")] {
            let text = format!("{before}{special}{after}");
            let cuts = vec![before.len() + 1];
            let guarded = GuardedText { text: text.clone(), cuts };
            let ids = tokenizer.encode_guarded(&guarded).unwrap();
            assert_eq!(ids, tokenizer.encode(&text, EncodeOptions::PLAIN).unwrap(), "{name}: {text:?}");
            let both = format!("{text}{special}");
            let guarded = GuardedText { text: both.clone(), ..guarded };
            let ids = tokenizer.encode_guarded(&guarded).unwrap();
            assert_eq!(ids.last(), tokenizer.encode(special, EncodeOptions::RENDERED_CHAT).unwrap().first());
            assert_eq!(tokenizer.decode(&ids, SpecialTokens::Keep), both, "{name}");
        }
        let free = GuardedText::from(format!("a{special}"));
        let expected = tokenizer.encode(&free.text, EncodeOptions::RENDERED_CHAT).unwrap();
        assert_eq!(tokenizer.encode_guarded(&free).unwrap(), expected, "{name}");
    }
}

#[test]
fn a_prompt_has_one_bos_at_most() {
    let Some(data) = data_dir() else { return };
    let dir = data.join("models/stories260K/hf");
    let gguf = crate::Gguf::open(&dir.join("stories260K-f32.gguf")).unwrap();
    let tokenizers: [Arc<dyn Tokenizer>; 2] = [
        Arc::new(HfTokenizer::load(&dir).unwrap()),
        Arc::new(GgufTokenizer::from_metadata(gguf.metadata()).unwrap()),
    ];
    for tokenizer in tokenizers {
        let bos = tokenizer.vocabulary().bos();
        let ids = tokenizer.encode("<s>Once", EncodeOptions::PROMPT).unwrap();
        assert!(ids.first().copied() == bos && ids.get(1).copied() != bos, "{ids:?}");
        assert_eq!(tokenizer.encode("Once", EncodeOptions::PROMPT).unwrap().first().copied(), bos);
    }
}

/// A valid file, edited.
fn file_with(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut file = json!({
        "version": "1.0", "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    });
    edit(&mut file);
    serde_json::to_vec(&file).unwrap()
}

#[test]
fn the_post_processor_alone_says_what_is_added() {
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let template = json!({
        "type": "TemplateProcessing", "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    });
    let dir = std::env::temp_dir().join(format!("sm-post-processor-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    // As transformers 5 has it, the flags of the configuration change nothing.
    let config =
        json!({"bos_token": "<s>", "eos_token": "<s>", "add_bos_token": false, "add_eos_token": true});
    fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
    let with_bos = json!({"type": "Sequence", "processors": [byte_level, template]});
    for (post_processor, expected) in [(with_bos, &[3, 2][..]), (Value::Null, &[2])] {
        let json = file_with(|file| file["post_processor"] = post_processor);
        fs::write(dir.join("tokenizer.json"), json).unwrap();
        let tokenizer = HfTokenizer::load(&dir).unwrap();
        assert_eq!(tokenizer.encode("ab", EncodeOptions::PROMPT).unwrap(), to_ids(expected));
        assert_eq!(tokenizer.encode("ab", EncodeOptions::RENDERED_CHAT).unwrap(), to_ids(&[2]));
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// What `xtask/golden/tokenizer_files.py` wrote.
#[derive(Deserialize)]
struct GoldenFiles {
    files: Vec<GoldenFile>,
}

#[derive(Deserialize)]
struct GoldenFile {
    name: String,
    file: Value,
    config: Value,
    encoded: Vec<Encoded>,
    decoded: Vec<Decoded>,
}

#[derive(Deserialize)]
struct Encoded {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Decoded {
    ids: Vec<u32>,
    all: String,
    plain: String,
}

#[test]
fn small_files_read_as_in_transformers() {
    let golden = include_str!("../../../tests/data/tokenizer_files.json");
    let golden: GoldenFiles = serde_json::from_str(golden).unwrap();
    assert!(golden.files.len() >= 7);
    for GoldenFile { name, file, config, encoded, decoded } in golden.files {
        let dir = std::env::temp_dir().join(format!("sm-tokenizer-file-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("tokenizer.json"), file.to_string()).unwrap();
        fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
        let tokenizer: Arc<dyn Tokenizer> = Arc::new(HfTokenizer::load(&dir).unwrap());
        fs::remove_dir_all(&dir).unwrap();
        for Encoded { text, ids } in encoded {
            let found = tokenizer.encode(&text, EncodeOptions::RENDERED_CHAT).unwrap();
            assert_eq!(found, to_ids(&ids), "{name}: {text:?}");
        }
        for Decoded { ids, all, plain } in decoded {
            let ids = to_ids(&ids);
            for (specials, expected) in [(SpecialTokens::Keep, all), (SpecialTokens::Skip, plain)] {
                assert_eq!(tokenizer.decode(&ids, specials), expected, "{name}: {ids:?}");
                assert_eq!(streamed(&tokenizer, &ids, specials), expected, "{name}: {ids:?}");
            }
        }
    }
}

#[test]
fn additions_of_the_configuration_with_other_ids_are_refused() {
    let added_tokens = vec![(9, AddedToken::from("<new>", true))];
    let config = SpecialConfig { added_tokens, ..SpecialConfig::default() };
    let message =
        HfTokenizer::from_json(&file_with(|_| ()), "f", &config, Runner::OwnCode).unwrap_err().to_string();
    assert!(message.contains("gives \"<new>\" the id 9, but among its tokens it is Some(4)"), "{message}");
}

/// A byte-level file with the pre-tokenizer of Llama 3 and these merges.
fn llama3(merges: &[[&str; 2]]) -> Vec<u8> {
    let letters = crate::tokenizer::byte_level::alphabet().map(String::from);
    let made = merges.iter().map(|pair| pair.concat());
    let vocab: serde_json::Map<String, Value> =
        letters.into_iter().chain(made).zip(0_u32..).map(|(text, id)| (text, id.into())).collect();
    let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let splits = json!([
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
    ]);
    let file = json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "ignore_merges": true, "vocab": vocab, "merges": merges},
    });
    serde_json::to_vec(&file).unwrap()
}

fn load(json: &[u8], runner: Runner) -> Result<HfTokenizer, TokenizerError> {
    HfTokenizer::from_json(json, "tokenizer.json", &SpecialConfig::default(), runner)
}

#[test]
fn our_own_code_and_the_library_give_the_same_ids() {
    let Some(data) = data_dir() else { return };
    let names = [
        "tokenizers/gpt2",
        "tokenizers/qwen2",
        "tokenizers/qwen3",
        "tokenizers/mistral-7b-v0.1-instruct",
        "tokenizers/phi-3-mini",
        "models/stories260K/hf",
    ];
    let pairs = names.map(|name| {
        let dir = data.join(name);
        let json = fs::read(dir.join("tokenizer.json")).unwrap();
        let config = SpecialConfig::load(&dir).unwrap();
        let [own, library] = [Runner::OwnCode, Runner::Library]
            .map(|runner| HfTokenizer::from_json(&json, name, &config, runner).unwrap());
        assert!(matches!(own.encoder, Encoder::BytePair(_)), "{name}");
        assert!(matches!(library.encoder, Encoder::Library(_)), "{name}");
        assert_eq!(own.marks, library.marks);
        (name, own, library)
    });
    let check = |text: &str| {
        for (name, own, library) in &pairs {
            for options in [EncodeOptions::PROMPT, EncodeOptions::PLAIN] {
                let ids = own.encode(text, options).unwrap();
                assert_eq!(ids, library.encode(text, options).unwrap(), "{name}: {text:?}");
            }
        }
    };
    let stories = fs::read_to_string(data.join("text/tinystories_sample_2MiB.txt")).unwrap();
    stories.split("<|endoftext|>").take(5).for_each(check);
    let parts = prop_oneof![
        8 => "[ ]{0,3}[a-zA-Z]{1,8}",
        2 => "[ \t\r\n]{1,5}",
        2 => "[0-9]{1,5}",
        2 => "[!-/:-@]{1,3}",
        2 => "['’](s|S|ll|RE)",
        2 => "[éñüÉ日本語кÅ한\u{300}\u{301}\u{3099}か▁]{1,4}",
        1 => "[😁👩\u{200d}]{1,3}",
        2 => proptest::sample::select(vec!["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<|end|>", "<|user|>", "<think>", "<0x0A>"]).prop_map(str::to_owned),
        1 => "\\PC{1,3}",
    ];
    let texts = proptest::collection::vec(parts, 0..20).prop_map(|parts| parts.concat());
    proptest!(ProptestConfig::with_cases(60), |(text in texts)| check(&text));
}

#[test]
fn long_white_space_has_the_tokens_of_its_pieces() {
    let json = llama3(&[["Ġ", "Ġ"], ["ĠĠ", "ĠĠ"], ["Ġ", "b"]]);
    let own = load(&json, Runner::OwnCode).unwrap();
    let text = format!("a{}b", " ".repeat(400_001));
    let ids = own.encode(&text, EncodeOptions::PLAIN).unwrap();
    let id = |text: &str| own.encode(text, EncodeOptions::PLAIN).unwrap();
    let expected = [id("a"), id("    ").repeat(100_000), id(" b")].concat();
    assert_eq!(ids.len(), expected.len());
    assert_eq!(ids, expected);
    // Where the library's expression gives up, that must not show as other tokens.
    let library = load(&json, Runner::Library).unwrap();
    match library.encode(&text, EncodeOptions::PLAIN) {
        Ok(ids) => assert!(ids == expected),
        Err(error) => assert!(matches!(error, TokenizerError::Encode { n_bytes: 400_003, .. }), "{error}"),
    }
    assert_eq!(library.encode("a     b", EncodeOptions::PLAIN).unwrap(), id("a     b"));
}

#[test]
fn a_text_beyond_the_limit_is_refused_with_the_numbers() {
    let json = llama3(&[]);
    let text = "x".repeat(100_000);
    for runner in [Runner::OwnCode, Runner::Library] {
        let tokenizer = load(&json, runner).unwrap();
        let within = |text: &str, limit| tokenizer.encode_within(text, EncodeOptions::PROMPT, limit);
        let error = within(&text, 10).unwrap_err();
        assert!(
            matches!(error, TokenizerError::TooManyTokens { limit: 10, n_bytes: 100_000, at_least: 11.. }),
            "{error}"
        );
        assert_eq!(within("a b c", 5).unwrap().len(), 5);
        assert!(within("a b c", 4).is_err());
        let guarded = GuardedText { text: "a b".to_owned(), cuts: vec![1] };
        assert_eq!(tokenizer.encode_guarded_within(&guarded, 3).unwrap().len(), 3);
        assert!(tokenizer.encode_guarded_within(&guarded, 2).is_err());
    }
}

#[test]
fn numeric_characters_are_those_of_the_expressions() {
    // `Digits` splits at Rust's, our splitter at those of the regex engine, whose Unicode version may be older.
    let numbers = fancy_regex::Regex::new(r"\A[\p{N}\p{Cn}]\z").unwrap();
    for character in ('\0'..=char::MAX).filter(|character| character.is_numeric()) {
        assert!(numbers.is_match(character.encode_utf8(&mut [0; 4])).unwrap(), "{character:?}");
    }
}

#[test]
fn normalizers_that_would_take_gigabytes_are_refused() {
    let with = |normalizer: Value| load(&file_with(|file| file["normalizer"] = normalizer), Runner::OwnCode);
    let map = json!({"type": "Precompiled", "precompiled_charsmap": "/P///w=="});
    let message = with(map).unwrap_err().to_string();
    assert!(message.contains("a trie of 4294967292"), "{message}");
    let message = with(json!({"type": "Prepend", "prepend": "x".repeat(1 << 20)})).unwrap_err().to_string();
    assert!(message.contains("puts 1048576 bytes before a text"), "{message}");
}

#[test]
fn malformed_files_are_refused_with_a_reason() {
    let load = |json: &[u8]| load(json, Runner::OwnCode);
    let whole = load(&file_with(|_| ())).unwrap();
    assert_eq!(whole.encode("ab<s>", EncodeOptions::PROMPT).unwrap(), to_ids(&[2, 3]));
    let cases = [
        (file_with(|file| file["model"]["merges"] = json!([["a", "x"]])), "`x` out of vocabulary"),
        (
            file_with(|file| file["model"]["vocab"] = json!({"a": 4_294_967_295_u32, "b": 1, "ab": 2})),
            "4294967295",
        ),
        (file_with(|file| file["model"]["vocab"]["a"] = json!(-1)), "expected u32"),
        (file_with(|file| file["model"] = json!({"type": "BPE", "vocab": {}, "merges": []})), "added token"),
        (
            file_with(|file| file["added_tokens"][0]["id"] = json!(77)),
            "has id 77, but the vocabulary has it at Some(3)",
        ),
        (
            file_with(|file| {
                file["decoder"] =
                    json!({"type": "CTC", "pad_token": "<s>", "word_delimiter_token": "|", "cleanup": true});
            }),
            "CTC",
        ),
        (file_with(|file| file["version"] = json!("9")), "version"),
        (b"{\"decoder\": {".to_vec(), "EOF"),
        (Vec::new(), "EOF"),
        (b"[1, 2]".to_vec(), "tokenizer.json is not a valid tokenizer"),
    ];
    for (json, expected) in cases {
        let message = load(&json).unwrap_err().to_string();
        assert!(message.contains(expected), "{expected:?} is not in: {message}");
    }
}

#[test]
fn damaged_files_never_panic() {
    let Some(data) = data_dir() else { return };
    let json = fs::read(data.join("models/stories260K/hf/tokenizer.json")).unwrap();
    let flips = proptest::collection::vec((0..json.len(), any::<u8>()), 0..4);
    proptest!(ProptestConfig::with_cases(150), |(flips in flips, len in 0..2 * json.len())| {
        let mut damaged = json.clone();
        damaged.truncate(len.max(1));
        for (at, byte) in flips {
            if let Some(damaged_byte) = damaged.get_mut(at) {
                *damaged_byte = byte;
            }
        }
        match HfTokenizer::from_json(&damaged, "damaged", &SpecialConfig::default(), Runner::OwnCode) {
            Err(error) => prop_assert!(error.to_string().len() < 2000),
            Ok(tokenizer) => {
                if let Ok(ids) = tokenizer.encode("Once upon a time é😁 </s>", EncodeOptions::PROMPT) {
                    tokenizer.decode(&ids, SpecialTokens::Keep);
                }
            }
        }
    });
}
