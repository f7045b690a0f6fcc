//! A server whose model has the tokens of `/infill`, for tests.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sm_runtime::{LoadOptions, ModelRef, TokenizerSource};

use crate::running::Running;

/// The tokens of a model of code that the demo model's tokenizer lacks.
const INFILL_MARKS: [&str; 6] =
    ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"];

/// A tokenizer of bytes and these tokens, 256 to 261.
fn tokenizer_with_marks() -> Value {
    // GPT-2 writes bytes that are no visible characters as others, from 256 on.
    let is_visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut others = 256_u32..;
    let mut vocabulary = serde_json::Map::new();
    for byte in 0..=u8::MAX {
        let code = if is_visible(&byte) { u32::from(byte) } else { others.next().unwrap() };
        vocabulary.insert(char::from_u32(code).unwrap().to_string(), byte.into());
    }
    let mark = |(index, text): (usize, &&str)| {
        json!({
            "id": 256 + index, "content": text, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    json!({
        "version": "1.0",
        "added_tokens": INFILL_MARKS.iter().enumerate().map(mark).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    })
}

/// The demo model with these tokens. What it writes is nonsense, but its prompts are right.
pub(crate) async fn server_that_fills_gaps() -> Running {
    // Models are loaded when they are asked for, so the file must stay. Test binaries run at the same time.
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let name = concat!("tokenizer-of-", env!("CARGO_CRATE_NAME"), ".json");
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&file, tokenizer_with_marks().to_string()).unwrap();
        file
    });
    let mut load = LoadOptions::new();
    load.tokenizer = TokenizerSource::File(file.clone());
    Running::loaded(ModelRef::Demo, load, |config| config).await
}
