//! What a step on a GPU allocates on the host: nothing by us, and little by wgpu and the driver, which record commands.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/counting.rs"]
mod counting;
#[path = "../../sm-model/src/testing.rs"]
#[expect(dead_code, reason = "these tests need no data")]
mod skips;

use sm_kernels::GpuBackend;
use sm_kernels::plan::{Backend, Limits, OutputRow, PAGE_LEN, Plan, Span, StepBatch, StepOutput, Wanted};
use sm_kernels::testing::{self, RandomWeights};
use sm_tensor::{DType, PageId, TokenId};

const N_PAGES: usize = 8;
const N_STEPS: u32 = 100;

/// The allocations of each step of greedy decoding.
fn count(backend: &GpuBackend, plan: &Plan) -> Vec<usize> {
    let limits = Limits::one_sequence(N_PAGES * PAGE_LEN);
    let mut executor = backend.prepare(plan, &RandomWeights::new(plan), limits, &|_| ()).unwrap();
    let mut output = StepOutput::new();
    let pages: Vec<_> = (0..N_PAGES as u32).map(PageId).collect();
    let outputs = [OutputRow { row: 0, wanted: Wanted::ArgMax }];
    let mut step = |start| {
        let batch = StepBatch {
            tokens: &[TokenId(3)],
            spans: &[Span { n_rows: 1, start, n_pages: N_PAGES as u32, ..Span::default() }],
            page_table: &pages,
            outputs: &outputs,
            ..StepBatch::default()
        };
        let before = counting::n_allocations();
        executor.run(&batch, &mut output).unwrap();
        counting::n_allocations() - before
    };
    (0..N_STEPS).map(&mut step).collect()
}

#[test]
fn a_step_allocates_what_recording_commands_takes_and_no_more_with_each_token() {
    let backend = match GpuBackend::open(0) {
        Ok(backend) => backend,
        Err(error) if std::env::var_os("GPU_TESTS").is_some_and(|value| value == "require") => {
            panic!("{error}")
        }
        Err(error) => return skips::skip(&error).unwrap_or(()),
    };
    for plan in [testing::decoder(DType::Q8_0), testing::mixed_decoder(DType::Q8_0)] {
        let counts = count(&backend, &plan);
        // Other threads of the process may allocate in some steps, but not in all.
        let least = |steps: &[usize]| steps.iter().copied().min().unwrap_or_default();
        let (early, late) = (least(&counts[5..50]), least(&counts[50..]));
        assert_eq!(early, late, "{counts:?}");
        assert!(late <= 8 * plan.ops.len(), "{late} for {} ops", plan.ops.len());
    }
}
