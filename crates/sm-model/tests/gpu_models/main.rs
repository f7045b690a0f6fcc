//! Golden models on a GPU, or software that stands in for one: the logits of the reference, whole prompts and token by token.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]
#![allow(clippy::print_stdout, reason = "tests print the errors they measure")]

#[path = "../models/golden.rs"]
mod golden;
#[path = "../models/interpreter.rs"]
mod interpreter;
#[path = "../../src/testing.rs"]
#[expect(dead_code, reason = "these tests need no data")]
mod testing;

use std::path::Path;

use sm_kernels::plan::{
    Backend, Executor, KvDType, Limits, OutputRow, PAGE_LEN, PrepareError, RopeRange, Span, StepBatch,
    StepOutput,
};
use sm_kernels::{GpuBackend, Restriction};
use sm_model::{LoadOptions, Model, load_model};
use sm_tensor::{DType, PageId, TokenId};

use golden::{Case, check, check_all};

/// How far logits may be from the reference, as a part of the largest, where rows of quantized weights are rounded to 8 bits: four
/// layers of models this small lose that much on the CPU too.
const INT8_TOLERANCE: f32 = 0.05;

/// The first adapter, if there is one.
fn gpu() -> Option<GpuBackend> {
    found(GpuBackend::open(0))
}

/// The same as a device that multiplies in single precision, whatever the weights are.
fn float_gpu() -> Option<GpuBackend> {
    found(GpuBackend::open_apart(0, Restriction::PLAIN))
}

fn found(opened: Result<GpuBackend, PrepareError>) -> Option<GpuBackend> {
    match opened {
        Ok(backend) => Some(backend),
        Err(error) if std::env::var_os("GPU_TESTS").is_some_and(|value| value == "require") => {
            panic!("{error}")
        }
        Err(error) => testing::skip(&error),
    }
}

/// An executor for one sequence of `n_tokens`, and the pages of the sequence.
fn executor(backend: &GpuBackend, model: &Model, n_tokens: usize) -> (Box<dyn Executor>, Vec<PageId>) {
    let limits = Limits {
        max_tokens: n_tokens,
        max_outputs: n_tokens,
        kv_dtype: KvDType::F32,
        ..Limits::one_sequence(n_tokens)
    };
    let executor = backend.prepare(&model.plan, &model.weights, limits, &|_| ()).unwrap();
    // Backwards, so that a backend that took positions for pages would show.
    (executor, (0..n_tokens.div_ceil(PAGE_LEN) as u32).rev().map(PageId).collect())
}

/// Shows `run` the step of some tokens of a prompt.
fn step<T>(
    model: &Model,
    prompt: &[u32],
    rows: std::ops::Range<usize>,
    pages: &[PageId],
    run: impl FnOnce(&StepBatch<'_>) -> T,
) -> T {
    let tokens: Vec<_> = prompt[rows.clone()].iter().copied().map(TokenId).collect();
    let outputs: Vec<_> = (0..rows.len() as u32).map(OutputRow::logits).collect();
    let rope_range = match model.plan.rope_extended_beyond() {
        Some(beyond) if prompt.len() > beyond => RopeRange::Extended,
        _ => RopeRange::Original,
    };
    let span = Span {
        n_rows: rows.len() as u32,
        start: rows.start as u32,
        n_pages: pages.len() as u32,
        rope_range,
        ..Span::default()
    };
    run(&StepBatch {
        tokens: &tokens,
        spans: &[span],
        page_table: pages,
        outputs: &outputs,
        ..StepBatch::default()
    })
}

/// The logits of `prompt` in one step, after a check that token by token gives the same bits.
fn logits(backend: &GpuBackend, model: &Model, prompt: &[u32]) -> Vec<Vec<f32>> {
    let (mut executor, pages) = executor(backend, model, prompt.len());
    let mut output = StepOutput::new();
    let mut run = |rows: std::ops::Range<usize>| {
        step(model, prompt, rows, &pages, |batch| executor.run(batch, &mut output).unwrap());
        (0..output.n_outputs()).map(|row| output.logits(row).to_vec()).collect::<Vec<_>>()
    };
    let at_once = run(0..prompt.len());
    for (index, expected) in at_once.iter().enumerate() {
        let alone = run(index..index + 1);
        let bits = |row: &[f32]| row.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>();
        assert!(bits(&alone[0]) == bits(expected), "token {index} alone differs from the whole prompt");
    }
    at_once
}

/// Checks golden models in every format they come in.
fn check_golden(backend: &GpuBackend, quant: Option<DType>, tolerance: f32) {
    check_all(&|model, prompt| logits(backend, model, prompt), quant, tolerance);
}

#[test]
fn golden_models_compute_the_reference_logits() {
    let Some(backend) = gpu() else { return };
    check_golden(&backend, Some(DType::F32), 1e-5);
}

#[test]
fn golden_models_in_their_own_types_compute_the_reference_logits() {
    let (Some(backend), Some(in_float)) = (gpu(), float_gpu()) else { return };
    check_golden(&in_float, None, 1e-3);
    check_golden(&backend, None, INT8_TOLERANCE);
}

#[test]
fn every_operation_computes_what_plain_arithmetic_computes() {
    let Some(backend) = gpu() else { return };
    let mut failures = Vec::new();
    let mut dirs: Vec<_> =
        golden::golden_dir().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    let prompt: Vec<u32> = (0..21).map(|i| 3 + i * 5 % 50).collect();
    for dir in dirs {
        let options = LoadOptions { context_len: None, quant: Some(DType::F32) };
        let model = load_model(&dir, &options).unwrap();
        let mut expected = Vec::new();
        interpreter::run(&model, &prompt, &mut |_, rows| expected.push(rows.concat()));
        let (mut executor, pages) = executor(&backend, &model, prompt.len());
        step(&model, &prompt, 0..prompt.len(), &pages, |batch| {
            let mut visit = |index: usize, actual: &[f32]| {
                let expected: &Vec<f32> = &expected[index];
                let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                let differences = actual.iter().zip(expected).map(|(a, e)| (a - e).abs());
                let error = differences.fold(0.0, f32::max) / largest;
                // NaN must fail too.
                if actual.len() != expected.len() || error.is_nan() || 2e-5 < error {
                    failures.push(format!(
                        "{} op {index} {}: {error:.2e}",
                        dir.display(),
                        model.plan.ops[index].name()
                    ));
                }
            };
            executor.trace(batch, &mut visit).unwrap();
        });
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_shipped_models_compute_the_reference_logits() {
    let Some(backend) = gpu() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["demo", "draft"] {
        let path = root.join("../sm-demo-model").join(name).with_extension("gguf");
        let expected = root.join("tests/data/demo").join(name);
        for quant in [None, Some(DType::F32)] {
            let case = Case { path: &path, quant, expected: &expected };
            let tolerance = if quant.is_some() { 1e-3 } else { INT8_TOLERANCE };
            let failures = check(&case, &|model, prompt| logits(&backend, model, prompt), tolerance);
            assert!(failures.is_empty(), "{}", failures.join("\n"));
        }
    }
}
