//! Which number of workers is worth its barriers, before anything was measured.
//!
//! ```text
//! time(n) = work / n + n_phases * barrier        for n = 1, without barriers
//! ```
//!
//! The work is what the plan counts, at rates that processors of the last ten years reach on one core. A better guess
//! would be of little use: [`TeamSize`](super::team_size::TeamSize) measures.

use std::time::{Duration, Instant};

use sm_tensor::TokenId;

use super::team::Team;
use crate::plan::{KvDType, OutputRow, Plan, Span, StepBatch, Work};

/// Bytes of weights that one core reads in a second.
const READ_BYTES: f64 = 12e9;
/// Additions and multiplications that one core does in a second.
const FLOAT_OPS: f64 = 40e9;
const INT8_OPS: f64 = 100e9;

/// Barriers of a measurement.
const N_BARRIERS: u32 = 64;

/// What the steps of a plan take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepEstimate {
    /// Seconds to read the weights once.
    read: f64,
    /// Seconds of arithmetic per row.
    row: f64,
    /// Seconds of barriers in a step.
    barriers: f64,
}

impl StepEstimate {
    /// Measures the barriers of `team`, for a program of `n_phases`.
    pub(crate) fn new(plan: &Plan, kv_dtype: KvDType, n_phases: usize, team: &mut Team) -> Self {
        let batch = StepBatch {
            tokens: &[TokenId(0)],
            spans: &[Span { n_rows: 1, n_pages: 1, ..Span::default() }],
            outputs: &[OutputRow::logits(0)],
            ..StepBatch::default()
        };
        let mut work = Work::default();
        plan.ops.iter().for_each(|op| work += op.work(plan, &batch, kv_dtype));
        let float_ops = work.float_ops + work.bf16_ops;
        Self {
            read: work.read_bytes as f64 / READ_BYTES,
            row: float_ops as f64 / FLOAT_OPS + work.int8_ops as f64 / INT8_OPS,
            barriers: barrier_time(team).as_secs_f64() * n_phases as f64,
        }
    }

    /// Workers that a step of `n_rows` is worth, of at most `max_workers`.
    pub(crate) fn n_workers(&self, n_rows: usize, max_workers: usize) -> usize {
        let alone = self.read.max(self.row * n_rows as f64);
        let time =
            |n_workers: usize| alone / n_workers as f64 + if n_workers > 1 { self.barriers } else { 0.0 };
        (1..=max_workers).min_by(|&a, &b| time(a).total_cmp(&time(b))).unwrap_or(1)
    }
}

/// What a barrier of all workers costs.
fn barrier_time(team: &mut Team) -> Duration {
    let began = Instant::now();
    // The body cannot panic.
    let _ = team.run(|worker| (0..N_BARRIERS).try_for_each(|_| worker.barrier()));
    began.elapsed() / N_BARRIERS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use sm_tensor::DType;

    #[test]
    fn little_work_is_worth_one_worker() {
        let estimate = StepEstimate { read: 100e-6, row: 50e-6, barriers: 60e-6 };
        assert_eq!(estimate.n_workers(1, 8), 8);
        let estimate = StepEstimate { barriers: 400e-6, ..estimate };
        assert_eq!((estimate.n_workers(1, 8), estimate.n_workers(512, 8)), (1, 8));
        assert_eq!(estimate.n_workers(512, 1), 1);
    }

    #[test]
    fn the_work_of_a_plan_grows_with_its_rows() {
        let plan = testing::decoder(DType::F32);
        let estimate = StepEstimate::new(&plan, KvDType::F16, 20, &mut Team::new(2).unwrap());
        assert!(estimate.read > 0.0 && estimate.row > 0.0 && estimate.barriers > 0.0, "{estimate:?}");
        assert_eq!(estimate.n_workers(1, 2), 1, "a few microseconds of work");
    }
}
