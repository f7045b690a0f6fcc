//! Every golden model computes the logits of transformers.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sm_model::{LoadOptions, Model, load_model};
use sm_tensor::DType;

use crate::{executed, golden_dir, interpreter, quantized_dir};

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
type Run = fn(&Model, &[u32]) -> Vec<Vec<f32>>;

/// A model, the data type to convert its matrices to, and the directory of the expected logits.
struct Case<'a> {
    path: &'a Path,
    quant: Option<DType>,
    expected: &'a Path,
}

fn check(case: &Case<'_>, run: Run, tolerance: f32) -> Vec<String> {
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
fn check_all(run: Run, quant: Option<DType>, tolerance: f32) {
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

#[test]
fn golden_models_compute_the_reference_logits_in_plain_arithmetic() {
    check_all(|model, tokens| interpreter::run(model, tokens, &mut |_, _| ()), None, 1e-5);
}

#[test]
fn golden_models_compute_the_reference_logits_on_the_cpu() {
    check_all(executed::logits, Some(DType::F32), 1e-5);
}

/// Products with BF16 weights round activations to BF16, a relative error of up to 2^-9 in each. Measured: up to 1.5e-2, and 3.2e-2
/// for one with experts. Mistakes in an architecture show in the F32 test above.
#[test]
fn golden_models_in_their_own_types_compute_nearly_the_reference_logits_on_the_cpu() {
    check_all(executed::logits, None, 25.0 / 512.0);
}

/// The reference computes in single precision with the dequantized weights of the file.
#[test]
fn the_shipped_models_compute_the_reference_logits() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["demo", "draft"] {
        let path = root.join("../sm-demo-model").join(name).with_extension("gguf");
        let expected = root.join("tests/data/demo").join(name);
        let case = Case { path: &path, quant: Some(DType::F32), expected: &expected };
        let failures = check(&case, executed::logits, 1e-3);
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}
