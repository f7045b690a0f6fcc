//! Attached tokenizers: a `.smnd` file, which has none, generates text.

use std::fs;
use std::path::PathBuf;

use sm_runtime::model::tokenizer::{CharTokenizer, UnknownCharacter};
use sm_runtime::{
    Engine, EngineConfig, Error, ErrorKind, GenerationOptions, Generator, LoadError, LoadOptions, Loader,
    Prompt, TokenId, TokenizerSource,
};

use crate::data;

const CHARACTERS: &str = "\n !.abcdefghijklmnopqrstuvwxyz";

/// A file of a small random model with `vocab_size` tokens, gone at the end of the test.
struct SmndFile(PathBuf);

impl SmndFile {
    fn new(name: &str, vocab_size: usize) -> Self {
        let path = std::env::temp_dir().join(format!("sm-{name}-{}.smnd", std::process::id()));
        fs::write(&path, smnd(vocab_size)).unwrap();
        Self(path)
    }

    fn loader(&self) -> Loader {
        Loader::new(&self.0)
    }
}

impl Drop for SmndFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A checkpoint of the C# runtime: one layer of 16 values and 2 heads, contexts of 32 tokens.
fn smnd(vocab_size: usize) -> Vec<u8> {
    let json = format!(
        r#"{{"ModelType": "TransformerModel", "VocabSize": {vocab_size}, "BlockSize": 32, "EmbedDim": 16,
            "NumHeads": 2, "NumLayers": 1, "FfnHiddenDim": 32, "Extra": {{}}}}"#
    );
    let layer: [&[usize]; 12] =
        [&[16], &[16], &[48, 16], &[48], &[16, 16], &[16], &[16], &[16], &[32, 16], &[32], &[16, 32], &[16]];
    let embeddings: [&[usize]; 2] = [&[vocab_size, 16], &[32, 16]];
    let head: [&[usize]; 3] = [&[16], &[16], &[vocab_size, 16]];
    let shapes = [&embeddings[..], &layer, &head].concat();
    let mut bytes = b"SMND".to_vec();
    let mut put = |number: usize| bytes.extend((number as i32).to_le_bytes());
    [1, 0, 0, json.len()].into_iter().for_each(&mut put);
    bytes.extend(json.into_bytes());
    bytes.extend((shapes.len() as i32).to_le_bytes());
    let mut state = 1u32;
    for shape in shapes {
        let n_values: usize = shape.iter().product();
        let header = [&[shape.len()], shape, &[n_values]].concat();
        bytes.extend(header.into_iter().flat_map(|number| (number as i32).to_le_bytes()));
        for _ in 0..n_values {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            bytes.extend(value.to_le_bytes());
        }
    }
    bytes
}

fn characters(text: &str) -> TokenizerSource {
    CharTokenizer::new(text, UnknownCharacter::Error).unwrap().into()
}

fn options() -> GenerationOptions {
    GenerationOptions::new().seed(1).max_new_tokens(20)
}

#[test]
fn a_checkpoint_with_attached_characters_generates_text() {
    let n_characters = CHARACTERS.chars().count();
    let file = SmndFile::new("characters", n_characters);
    let plain = file.loader().load().unwrap();
    let error = Generator::new(plain.clone()).unwrap().generate(&"once".into(), &options()).unwrap_err();
    assert!(matches!(error, Error::NoTokenizer), "{error}");
    let load = LoadOptions::new().tokenizer(characters(CHARACTERS));
    let model = file.loader().options(load.clone()).load().unwrap();
    let engine = Engine::start(model, EngineConfig::new()).unwrap();
    let completion = engine.generate("once".into(), &options()).unwrap();
    assert_eq!(completion.text.chars().count(), 20);
    assert!(completion.text.chars().all(|character| CHARACTERS.contains(character)), "{}", completion.text);
    // The same ids as without a tokenizer.
    let mut sorted: Vec<char> = CHARACTERS.chars().collect();
    sorted.sort_unstable();
    let ids = "once".chars().map(|letter| TokenId(sorted.binary_search(&letter).unwrap() as u32)).collect();
    let alone = Generator::new(plain).unwrap().generate(&Prompt::Tokens(ids), &options()).unwrap();
    assert_eq!(completion.tokens, alone.tokens);
    let tokenizer = file.loader().options(load).tokenizer().unwrap();
    assert_eq!(tokenizer.vocabulary().vocab_size(), n_characters);
}

#[test]
fn a_vocabulary_of_another_size_is_refused_with_both_numbers() {
    let file = SmndFile::new("sizes", 31);
    for (text, n_characters) in [("abc", 3), ("0123456789abcdefghijklmnopqrstuvwxyz", 36)] {
        let load = LoadOptions::new().tokenizer(characters(text));
        let load = file.loader().options(load).progress(|_| panic!("it loads weights"));
        match load.load() {
            Err(error @ Error::Load(LoadError::TokenizerVocabulary { tokenizer, model: 31 })) => {
                assert_eq!((tokenizer, error.kind()), (n_characters, ErrorKind::InvalidRequest));
                assert!(error.to_string().contains("31"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_tokenizer_file_is_attached_with_its_chat_template() {
    let Some(stories) = data("models/stories260K/hf") else { return };
    let gguf = stories.join("stories260K-f32.gguf");
    // Padded logits are usual: more of them than tokens is fine, fewer is not.
    let file = SmndFile::new("padded", 600);
    for source in [&stories, &stories.join("tokenizer.json"), &gguf] {
        let load = LoadOptions::new().tokenizer(source.clone());
        let model = file.loader().options(load).load().unwrap();
        assert_eq!(model.tokenizer().unwrap().vocabulary().vocab_size(), 512, "{}", source.display());
    }
    let small = SmndFile::new("small", 500);
    let error = small.loader().options(LoadOptions::new().tokenizer(gguf)).load().unwrap_err().to_string();
    assert!(error.contains("512") && error.contains("500"), "{error}");
    let missing = LoadOptions::new().tokenizer(stories.join("missing"));
    assert!(matches!(file.loader().options(missing).load(), Err(Error::Load(LoadError::Tokenizer(_)))));
    let Some(qwen) = data("tokenizers/qwen2") else { return };
    let large = SmndFile::new("template", 152_000);
    let model = large.loader().options(LoadOptions::new().tokenizer(qwen)).load().unwrap();
    model.chat_template().unwrap();
}

#[test]
fn published_checkpoints_generate_text() {
    let Some(path) = data("models/smnd/demo-model.smnd") else { return };
    let plain = Loader::new(&path).load().unwrap();
    let text: String = (' '..).take(plain.vocab_size()).collect();
    let load = LoadOptions::new().tokenizer(characters(&text));
    let model = Loader::new(&path).options(load).load().unwrap();
    let completion = Generator::new(model).unwrap().generate(&"01".into(), &options()).unwrap();
    assert_eq!(completion.text.chars().count(), completion.tokens.len());
    let ids = Prompt::Tokens(vec![TokenId(16), TokenId(17)]);
    let alone = Generator::new(plain).unwrap().generate(&ids, &options()).unwrap();
    assert_eq!(completion.tokens, alone.tokens);
}
