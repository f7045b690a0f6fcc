//! What a step costs beside arithmetic: dispatches, bytes, and where its time goes.

use std::time::Duration;

use sm_kernels::plan::{
    Executor, KvDType, Limits, OutputRow, Plan, Profile, Span, StepBatch, StepOutput, Wanted,
};
use sm_kernels::testing::{self, RandomWeights};
use sm_tensor::{DType, PageId, TokenId};

use crate::sequences::limits;
use crate::{gpu, prepare, skips};

/// Computes one row at a position, whose arg-max or logits are wanted.
fn decode(executor: &mut dyn Executor, position: u32, wanted: Wanted) {
    let pages: Vec<_> = (0..8).map(PageId).collect();
    let batch = StepBatch {
        tokens: &[TokenId(3)],
        spans: &[Span { n_rows: 1, start: position, n_pages: 8, ..Span::default() }],
        page_table: &pages,
        outputs: &[OutputRow { row: 0, wanted }],
        ..StepBatch::default()
    };
    executor.run(&batch, &mut StepOutput::new()).unwrap();
}

fn executor(plan: &Plan) -> Option<Box<dyn Executor>> {
    let limits = Limits { kv_dtype: KvDType::F16, ..limits() };
    Some(prepare(&gpu()?, plan, &RandomWeights::new(plan), limits))
}

/// Ends a profile, if the adapter has time stamps.
fn profile(executor: &mut dyn Executor) -> Option<Profile> {
    executor.finish_profile().or_else(|| skips::skip(&"the adapter has no time stamps"))
}

#[test]
fn a_layer_is_ten_dispatches_and_a_greedy_token_a_few_bytes() {
    let plan = testing::decoder(DType::Q8_0);
    let Some(mut executor) = executor(&plan) else { return };
    executor.start_profile();
    (0..4).for_each(|position| decode(&mut *executor, position, Wanted::ArgMax));
    let Some(profile) = profile(&mut *executor) else { return };
    let n_layers = plan.layer_starts.len() as u64;
    assert!(0 < n_layers);
    // Embedding; norm, rows and head of the output; arg-max.
    assert!(profile.traffic.n_dispatches <= 4 * (10 * n_layers + 5), "{profile:?}");
    assert_eq!(profile.traffic.read_bytes, 4 * 8);
    // A row, its pages, its output, and the angles of its rotation.
    let n_pairs: usize = plan.ropes.iter().map(|rope| rope.inv_freq.len()).sum();
    assert!(profile.traffic.sent_bytes <= 4 * (16 + 4 + 4 + 8 * n_pairs as u64), "{profile:?}");
}

#[test]
fn a_profile_has_the_time_of_each_kind_of_operation() {
    let plan = testing::decoder(DType::F32);
    let Some(mut executor) = executor(&plan) else { return };
    assert_eq!(executor.finish_profile(), None);
    executor.start_profile();
    (0..3).for_each(|position| decode(&mut *executor, position, Wanted::Logits));
    let Some(profile) = profile(&mut *executor) else { return };
    assert_eq!(profile.n_steps, 3);
    assert_eq!(profile.rows.iter().map(|row| row.n_ops).sum::<usize>(), plan.ops.len());
    let (rest, ops) = profile.rows.split_last().unwrap();
    assert!(ops.iter().all(|row| row.time < profile.time), "{profile:?}");
    assert!(Duration::ZERO < ops.iter().map(|row| row.time).sum(), "{profile:?}");
    assert_eq!(rest.n_ops, 0);
    assert!(0.0 < profile.speed.read_bytes && 0.0 < profile.speed.float_ops, "{:?}", profile.speed);
    assert_eq!(executor.finish_profile(), None);
}
