//! A step after the first allocates nothing, on any thread.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/counting.rs"]
mod counting;

use sm_kernels::CpuBackend;
use sm_kernels::plan::{Backend, Limits, OutputRow, PAGE_LEN, Plan, Span, StepBatch, StepOutput};
use sm_kernels::testing::{self, RandomWeights};
use sm_tensor::{DType, PageId, TokenId};

/// Counts the allocations of steps of these lengths after one of the first length.
fn count(plan: &Plan, n_threads: usize, lengths: &[u32]) -> usize {
    let limits = Limits { max_tokens: 64, max_outputs: 64, ..Limits::one_sequence(50 * PAGE_LEN) };
    let backend = CpuBackend::new().exact_threads(n_threads);
    let mut executor = backend.prepare(plan, &RandomWeights::new(plan), limits, &|_| ()).unwrap();
    let mut output = StepOutput::new();
    let tokens = vec![TokenId(3); 64];
    let pages: Vec<_> = (0..50).map(PageId).collect();
    let (mut start, mut n_after_first) = (0, 0);
    for (index, &n_rows) in lengths.iter().enumerate() {
        let n_pages = (start + n_rows).div_ceil(PAGE_LEN as u32);
        let batch = StepBatch {
            tokens: &tokens[..n_rows as usize],
            spans: &[Span { n_rows, start, n_pages, ..Span::default() }],
            page_table: &pages,
            outputs: &[OutputRow::logits(n_rows - 1)],
            ..StepBatch::default()
        };
        let before = counting::n_allocations();
        executor.submit(&batch).unwrap();
        executor.wait(&mut output).unwrap();
        assert!(output.logits(0)[0].is_finite());
        if 0 < index {
            n_after_first += counting::n_allocations() - before;
        }
        start += n_rows;
    }
    n_after_first
}

/// The test harness may allocate on its own thread meanwhile, and a worker when it first sleeps, but not each time.
fn check(plan: &Plan, n_threads: usize, lengths: &[u32]) {
    let least = (0..10).map(|_| count(plan, n_threads, lengths)).min();
    assert_eq!(least, Some(0), "{n_threads} threads, {} ops", plan.ops.len());
}

#[test]
fn a_step_after_the_first_allocates_nothing() {
    for n_threads in [1, 2, 4] {
        for plan in
            [testing::decoder(DType::Q8_0), testing::decoder(DType::F32), testing::experts(DType::Q4_0)]
        {
            check(&plan, n_threads, &[1, 1, 64, 17, 64, 64, 64, 1, 1, 5]);
        }
    }
}
