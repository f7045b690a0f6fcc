//! A synthetic byte-level vocabulary: every byte is a token, and short words are merges.

use sm_model::metadata::{Array, Metadata, Value};

/// Token types of GGUF vocabularies.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// The pre-tokenizer. Every engine that reads GGUF files knows this one.
const PRE_TOKENIZER: &str = "smollm";

/// Adds a vocabulary of `vocab_size` tokens: special ones, 256 bytes, then words.
pub(super) fn describe(vocab_size: usize, metadata: &mut Metadata) {
    let special = ["<|unknown|>", "<|begin|>", "<|end|>"].map(|token| (token.to_owned(), CONTROL));
    let bytes = (0..=255).map(|byte| (visible(byte).to_string(), NORMAL));
    let n_words = vocab_size - special.len() - 256;
    let words: Vec<_> = (1..).flat_map(words).take(n_words).collect();
    let merges = words.iter().map(|(left, right)| format!("{left} {right}")).collect();
    let words = words.iter().map(|(left, right)| (format!("{left}{right}"), NORMAL));
    let (tokens, types): (Vec<_>, Vec<_>) = special.into_iter().chain(bytes).chain(words).unzip();

    metadata.insert("tokenizer.ggml.model", Value::String("gpt2".into()));
    metadata.insert("tokenizer.ggml.pre", Value::String(PRE_TOKENIZER.into()));
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    metadata.insert("tokenizer.ggml.merges", Value::Array(Array::String(merges)));
    for (key, id) in [("unknown_token_id", 0), ("bos_token_id", 1), ("eos_token_id", 2)] {
        metadata.insert(format!("tokenizer.ggml.{key}"), Value::U32(id));
    }
    metadata.insert("tokenizer.ggml.add_bos_token", Value::Bool(true));
    metadata.insert("tokenizer.ggml.add_eos_token", Value::Bool(false));
}

/// The character that represents a byte in GPT-2's vocabulary: itself, or one from U+0100 on if it is not printable.
fn visible(byte: u8) -> char {
    let is_visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    if is_visible(&byte) {
        return char::from(byte);
    }
    let n_before = (0..byte).filter(|byte| !is_visible(byte)).count() as u8;
    // U+0100 and what follows; there are fewer than 256.
    char::from_u32(0x100 + u32::from(n_before)).unwrap_or_default()
}

/// Word number `n` of `a`, …, `z`, `aa`, `ab`, …, with and without a leading space, each as the two tokens that are merged
/// into it. Single letters are bytes.
fn words(mut number: u32) -> impl Iterator<Item = (String, String)> {
    let mut word = String::new();
    while number > 0 {
        number -= 1;
        word.insert(0, char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    let last = word.split_off(word.len() - 1);
    let spaced = (format!("{}{word}", visible(b' ')), last.clone());
    std::iter::once(spaced).chain((!word.is_empty()).then_some((word, last)))
}
