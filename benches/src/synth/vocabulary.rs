//! A made-up SentencePiece vocabulary: it covers any text by bytes, and short words by pieces.

use sm_model::metadata::{Array, Metadata, Value};

/// Token types of GGUF vocabularies.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Adds a vocabulary of `vocab_size` tokens: the special ones, 256 bytes, printable characters, then words.
pub(super) fn describe(vocab_size: usize, metadata: &mut Metadata) {
    let special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)];
    let special = special.map(|(token, kind)| (token.to_owned(), kind));
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), BYTE));
    let pieces = characters().chain((1..).flat_map(words)).map(|piece| (piece, NORMAL));
    let all = special.into_iter().chain(bytes).chain(pieces).take(vocab_size);
    let (tokens, types): (Vec<_>, Vec<_>) = all.unzip();
    // Tokens made earlier, which are shorter, merge first.
    let scores = (0..tokens.len()).map(|index| -(index as f32)).collect();

    metadata.insert("tokenizer.ggml.model", Value::String("llama".into()));
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    for (key, id) in [("unknown_token_id", 0), ("bos_token_id", 1), ("eos_token_id", 2)] {
        metadata.insert(format!("tokenizer.ggml.{key}"), Value::U32(id));
    }
    metadata.insert("tokenizer.ggml.add_bos_token", Value::Bool(true));
    metadata.insert("tokenizer.ggml.add_eos_token", Value::Bool(false));
}

/// The space and the printable characters of ASCII.
fn characters() -> impl Iterator<Item = String> {
    std::iter::once('▁').chain('!'..='~').map(String::from)
}

/// The word of this number, alone and after a space: `a`, …, `z`, `aa`, `ab`, ….
fn words(mut number: u32) -> impl Iterator<Item = String> {
    let mut word = String::new();
    while number > 0 {
        number -= 1;
        word.insert(0, char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    let spaced = format!("▁{word}");
    // Single letters are among the characters.
    std::iter::once(spaced).chain((word.len() > 1).then_some(word))
}
