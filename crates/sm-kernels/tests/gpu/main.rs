//! What the GPU executor promises, on whatever adapter there is; software will do.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../../sm-model/src/testing.rs"]
#[expect(dead_code, reason = "these tests need no data")]
mod skips;

#[path = "../support/sequences.rs"]
mod sequences;

mod faults;
mod in_flight;
mod operations;
mod products;
mod profile;
mod steps;

use sm_kernels::plan::{
    Backend, Executor, Input, Limits, OutputRow, PAGE_LEN, Plan, PrepareError, Span, StepBatch, WeightSource,
};
use sm_kernels::{GpuBackend, Restriction};
use sm_tensor::{PageId, TokenId};

use sequences::limits;

/// The backend, if there is a GPU.
fn found(opened: Result<GpuBackend, PrepareError>) -> Option<GpuBackend> {
    match opened {
        Ok(backend) => Some(backend),
        Err(error) if std::env::var_os("GPU_TESTS").is_some_and(|value| value == "require") => {
            panic!("{error}")
        }
        Err(error) => skips::skip(&error),
    }
}

/// The first adapter, if there is one.
fn gpu() -> Option<GpuBackend> {
    restricted_gpu(Restriction::NONE)
}

/// The first adapter without some of what it has.
fn restricted_gpu(restriction: Restriction) -> Option<GpuBackend> {
    found(GpuBackend::open_apart(0, restriction))
}

fn prepare(
    backend: &dyn Backend,
    plan: &Plan,
    source: &dyn WeightSource,
    limits: Limits,
) -> Box<dyn Executor> {
    backend.prepare(plan, source, limits, &|_| ()).unwrap()
}

/// The first output of each operation, for one sequence of `n_rows` from its beginning.
fn trace(executor: &mut dyn Executor, n_rows: usize, input: Option<&[f32]>) -> Vec<Vec<f32>> {
    let tokens: Vec<_> = (0..n_rows as u32).map(|i| TokenId(i * 7 % 40)).collect();
    let n_pages = n_rows.div_ceil(PAGE_LEN) as u32;
    let pages: Vec<_> = (0..n_pages).map(|page| PageId(100 - 3 * page)).collect();
    let outputs: Vec<_> = (0..n_rows as u32).map(OutputRow::logits).collect();
    let batch = StepBatch {
        tokens: &tokens,
        spans: &[Span { n_rows: n_rows as u32, n_pages, ..Span::default() }],
        page_table: &pages,
        outputs: &outputs,
        input,
        ..StepBatch::default()
    };
    let mut all = Vec::new();
    executor.trace(&batch, &mut |_, values| all.push(values.to_vec())).unwrap();
    all
}

/// The operation by which a test brings its own rows.
fn input(plan: &mut sm_kernels::plan::PlanBuilder, width: usize) -> sm_kernels::plan::BufferId {
    let x = plan.buffer("x", sm_kernels::plan::Rows::Tokens, width);
    plan.push(Input { out: x });
    x
}

/// Checks values against others, to a part of the largest magnitude of each row.
fn assert_close(what: &str, actual: &[f32], expected: &[f32], width: usize, tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (row, (actual, expected)) in actual.chunks(width).zip(expected.chunks(width)).enumerate() {
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
            assert!((a - e).abs() <= tolerance * largest, "{what}: row {row} value {i}: {a} for {e}");
        }
    }
}
