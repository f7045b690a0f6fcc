//! What a step can give for a row, and what executors can share.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::sync::Arc;

use sm_kernels::CpuBackend;
use sm_kernels::plan::{
    Backend, CacheLayout, Executor, Limits, OutputRow, PAGE_LEN, PageGroup, Plan, Span, StateLayout,
    StepBatch, StepOutput, Wanted, Weights,
};
use sm_kernels::testing::{self, RandomWeights};
use sm_tensor::{DType, PageId, TokenId};

const N_TOKENS: usize = 20;

fn limits() -> Limits {
    Limits { max_tokens: N_TOKENS, max_outputs: N_TOKENS, ..Limits::one_sequence(64) }
}

/// Runs one sequence from its start with some outputs.
fn run(executor: &mut dyn Executor, outputs: &[OutputRow], output: &mut StepOutput) {
    let tokens: Vec<_> = (0..N_TOKENS as u32).map(|i| TokenId(i * 7 % 40)).collect();
    let n_pages = N_TOKENS.div_ceil(PAGE_LEN) as u32;
    let batch = StepBatch {
        tokens: &tokens,
        spans: &[Span { n_rows: N_TOKENS as u32, n_pages, ..Span::default() }],
        page_table: &[PageId(3), PageId(1)],
        outputs,
        ..StepBatch::default()
    };
    executor.run(&batch, output).unwrap();
}

/// All logits of all rows.
fn all_logits(executor: &mut dyn Executor) -> Vec<Vec<f32>> {
    let (outputs, mut output): (Vec<_>, _) =
        ((0..N_TOKENS as u32).map(OutputRow::logits).collect(), StepOutput::new());
    run(executor, &outputs, &mut output);
    (0..N_TOKENS).map(|row| output.logits(row).to_vec()).collect()
}

fn executor(plan: &Plan, n_threads: usize) -> Box<dyn Executor> {
    let backend = CpuBackend::new().exact_threads(n_threads);
    backend.prepare(plan, &RandomWeights::new(plan), limits(), &|_| ()).unwrap()
}

#[test]
fn rows_give_what_is_wanted_of_them() {
    for (dtype, n_threads) in [(DType::F32, 1), (DType::Q8_0, 3)] {
        let mut executor = executor(&testing::decoder(dtype), n_threads);
        let logits = all_logits(&mut *executor);
        let kinds = [Wanted::Logits, Wanted::ArgMax, Wanted::TopK(3), Wanted::Hidden, Wanted::TopK(99)];
        let mut output = StepOutput::new();
        for first in 0..kinds.len() {
            let wanted = |row: usize| kinds[(first + row) % kinds.len()];
            let rows: Vec<usize> = (0..N_TOKENS).filter(|row| row % 3 != 1).collect();
            let outputs: Vec<_> =
                rows.iter().map(|&row| OutputRow { row: row as u32, wanted: wanted(row) }).collect();
            run(&mut *executor, &outputs, &mut output);
            assert_eq!(output.n_outputs(), rows.len());
            for (index, &row) in rows.iter().enumerate() {
                let mut expected = StepOutput::new();
                match wanted(row) {
                    Wanted::Hidden => continue,
                    wanted => expected.push_logits(wanted, &logits[row]),
                }
                match wanted(row) {
                    Wanted::ArgMax => assert_eq!(output.arg_max(index), expected.arg_max(0)),
                    Wanted::TopK(_) => {
                        assert_eq!(output.top(index), expected.top(0));
                        let difference = output.log_sum_exp(index) - expected.log_sum_exp(0);
                        assert!(difference.abs() < 64.0 * f64::from(f32::EPSILON), "{difference}");
                    }
                    _ => assert_eq!(output.logits(index), logits[row]),
                }
            }
        }
    }
}

#[test]
fn the_hidden_state_is_what_the_head_multiplies() {
    for dtype in [DType::F32, DType::Q8_0] {
        let plan = testing::decoder(dtype);
        let weights = RandomWeights::new(&plan);
        let table = weights.values("table.0");
        let mut executor = executor(&plan, 2);
        let logits = all_logits(&mut *executor);
        let outputs: Vec<_> =
            (0..N_TOKENS as u32).map(|row| OutputRow { row, wanted: Wanted::Hidden }).collect();
        let mut output = StepOutput::new();
        run(&mut *executor, &outputs, &mut output);
        for (row, logits) in logits.iter().enumerate() {
            let hidden = output.hidden(row);
            assert_eq!(hidden.len(), plan.hidden_size());
            for (weights, logit) in table.chunks_exact(hidden.len()).zip(logits) {
                let sum: f64 = weights.iter().zip(hidden).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                assert!((sum - f64::from(*logit)).abs() < 1e-4, "{sum} for {logit}");
            }
        }
    }
}

#[test]
fn an_output_stays_while_the_next_step_is_computed() {
    let mut executor = executor(&testing::decoder(DType::F32), 2);
    let (mut first, mut second) = (StepOutput::new(), StepOutput::new());
    run(&mut *executor, &[OutputRow::logits(4)], &mut first);
    let kept = first.logits(0).to_vec();
    first.logits_mut(0)[7] = 77.0;
    for _ in 0..3 {
        run(&mut *executor, &[OutputRow::logits(9)], &mut second);
        assert_ne!(second.logits(0), kept);
        assert_eq!(first.logits(0)[7], 77.0);
        assert_eq!(first.logits(0)[..7], kept[..7]);
    }
    run(&mut *executor, &[OutputRow::logits(4)], &mut first);
    assert_eq!(first.logits(0), kept);
}

#[test]
fn executors_share_weights_whatever_their_limits_and_threads() {
    let plan = testing::decoder(DType::Q4_0);
    let loaded: Arc<dyn Weights> =
        CpuBackend::new().exact_threads(2).load(&plan, &RandomWeights::new(&plan), &|_| ()).unwrap();
    let expected = all_logits(&mut *executor(&plan, 1));
    let mut short = plan.clone();
    short.context_len = 100;
    let mut executors: Vec<_> = [(&plan, 1, 64), (&plan, 3, 200), (&short, 2, 50)]
        .map(|(plan, n_threads, n_positions)| {
            let limits = Limits { n_pages: n_positions / PAGE_LEN + 1, ..limits() };
            CpuBackend::new().exact_threads(n_threads).prepare_loaded(plan, &loaded, limits).unwrap()
        })
        .into();
    assert_eq!(Arc::strong_count(&loaded), 4);
    for executor in &mut executors {
        assert_eq!(executor.info().weight_bytes, loaded.n_bytes());
        assert!(all_logits(&mut **executor) == expected);
    }
    drop(executors);
    assert_eq!(Arc::strong_count(&loaded), 1);
}

/// Weights of a backend that is not there.
#[derive(Debug)]
struct Foreign;

impl Weights for Foreign {
    fn n_bytes(&self) -> usize {
        0
    }

    fn bytes(&self) -> Vec<&[u8]> {
        Vec::new()
    }
}

#[test]
fn the_weights_of_another_plan_are_refused() {
    let plan = testing::decoder(DType::Q4_0);
    let backend = CpuBackend::new().exact_threads(1);
    let loaded = backend.load(&plan, &RandomWeights::new(&plan), &|_| ()).unwrap();
    let refuse = |plan: &Plan, weights: &Arc<dyn Weights>, expected: &str| {
        let error = backend.prepare_loaded(plan, weights, limits()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refuse(&testing::decoder(DType::Q8_0), &loaded, "the first that differs is number 1");
    refuse(&testing::experts(DType::Q4_0), &loaded, "they have 11 matrices, the plan has 5");
    let mut other_norm = plan.clone();
    other_norm.vectors[0].parts = vec!["another".to_owned()];
    refuse(&other_norm, &loaded, "they have 1 vectors, the plan has 1, and the first");
    refuse(&plan, &(Arc::new(Foreign) as Arc<dyn Weights>), "another backend packed them");
}

#[test]
fn layouts_that_the_cpu_lacks_are_refused() {
    let refuse = |change: fn(&mut CacheLayout), expected: &str| {
        let mut plan = testing::experts(DType::F32);
        change(&mut plan.cache);
        let error = CpuBackend::new().memory_needs(&plan, &limits()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refuse(
        |cache| {
            cache.pages.push(PageGroup { n_layers: 1, n_kv_heads: 1, key_dim: 576, value_dim: 512 });
        },
        "needs keys and values of one width, and the plan has 576 and 512",
    );
    refuse(
        |cache| cache.states.push(StateLayout { name: "conv".to_owned(), len: 3 }),
        "no recurrent states yet, and the plan has \"conv\"",
    );
}
