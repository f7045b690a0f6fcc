//! Golden models and the logits that transformers computes for them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sm_model::{LoadOptions, Model, load_model};
use sm_tensor::DType;

#[derive(Deserialize)]
struct Expected {
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    input_ids: Vec<u32>,
    /// A file of `[n_tokens, vocab_size]` little-endian `f32`.
    logits: String,
    vocab_size: usize,
}

pub(crate) fn read_f32(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// The largest absolute error, relative to the largest logit.
fn relative_error(actual: &[Vec<f32>], expected: &[f32], vocab_size: usize) -> f32 {
    let largest = expected.iter().fold(0.0f32, |largest, logit| largest.max(logit.abs()));
    let rows = expected.chunks_exact(vocab_size);
    assert_eq!(rows.len(), actual.len());
    let differences = actual.iter().zip(rows).flat_map(|(actual, expected)| {
        assert_eq!(actual.len(), expected.len());
        actual.iter().zip(expected).map(|(a, e)| (a - e).abs())
    });
    differences.fold(0.0, f32::max) / largest
}

/// Computes the logits of every token.
pub(crate) type Run<'a> = &'a dyn Fn(&Model, &[u32]) -> Vec<Vec<f32>>;

/// A model, the data type to convert its matrices to, and the directory of the expected logits.
pub(crate) struct Case<'a> {
    pub(crate) path: &'a Path,
    pub(crate) quant: Option<DType>,
    pub(crate) expected: &'a Path,
}

/// Compares the logits of every prompt. Returns what is wrong.
pub(crate) fn check(case: &Case<'_>, run: Run<'_>, tolerance: f32) -> Vec<String> {
    let Case { path, quant, expected: dir } = *case;
    let expected: Expected =
        serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let mut failures = Vec::new();
    for prompt in &expected.prompts {
        // As long as the model allows: with LongRoPE, the length of the prompt decides, and not that of the context.
        let options = LoadOptions { context_len: None, quant };
        let model = load_model(path, &options).unwrap();
        let actual = run(&model, &prompt.input_ids);
        let error = relative_error(&actual, &read_f32(&dir.join(&prompt.logits)), prompt.vocab_size);
        println!("{} {}: {error:.2e}", path.display(), prompt.logits);
        // NaN must fail too.
        if !matches!(error.partial_cmp(&tolerance), Some(std::cmp::Ordering::Less)) {
            failures.push(format!("{} {}: {error:.2e}", path.display(), prompt.logits));
        }
    }
    failures
}

/// Checks every golden model in every format it comes in.
pub(crate) fn check_all(run: Run<'_>, quant: Option<DType>, tolerance: f32) {
    let entries = [golden_dir(), quantized_dir()].map(|dir| dir.read_dir().unwrap());
    let mut dirs: Vec<PathBuf> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    let mut failures = Vec::new();
    for dir in &dirs {
        failures.extend(check(&Case { path: dir, quant, expected: dir }, run, tolerance));
        let gguf = dir.join("model.gguf");
        if gguf.is_file() {
            failures.extend(check(&Case { path: &gguf, quant, expected: dir }, run, tolerance));
        }
    }
    assert!(failures.is_empty(), "{} wrong:\n{}", failures.len(), failures.join("\n"));
}

/// The golden models of `cargo xtask golden`.
pub(crate) fn golden_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/arch"))
}

/// The quantized models of `cargo xtask golden`.
pub(crate) fn quantized_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/quantized/models"))
}
