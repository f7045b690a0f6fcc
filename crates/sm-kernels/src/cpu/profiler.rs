//! Where the time of steps goes, while someone asks.
//!
//! Each worker reads a clock before and after its part of a phase. What lies between two parts is the wait at the barrier, so
//! that the times of one worker cover the whole step, and the mean over the workers does too.

use std::time::{Duration, Instant};

use super::program::Phase;
use super::worker_state::WorkerState;
use crate::plan::{KvDType, OpProfile, Plan, Profile, Speed, StepBatch, Work};

/// Adds up the time and work of steps.
#[derive(Debug)]
pub(crate) struct Profiler {
    n_steps: usize,
    time: Duration,
    /// When the present step began.
    began: Instant,
    /// The work of each op in all steps.
    work: Vec<Work>,
}

impl Profiler {
    /// Gives each worker a clock.
    pub(crate) fn start(plan: &Plan, phases: &[Phase], workers: &mut [WorkerState]) -> Self {
        workers.iter_mut().for_each(|worker| worker.start_clock(phases.len()));
        let work = vec![Work::default(); plan.ops.len()];
        Self { n_steps: 0, time: Duration::ZERO, began: Instant::now(), work }
    }

    /// A step begins.
    pub(crate) fn begin_step(&mut self, workers: &mut [WorkerState]) {
        workers.iter_mut().for_each(WorkerState::begin_step);
        self.began = Instant::now();
    }

    /// The step has ended.
    pub(crate) fn end_step(
        &mut self,
        plan: &Plan,
        batch: &StepBatch<'_>,
        kv_dtype: KvDType,
        workers: &mut [WorkerState],
    ) {
        let ended = Instant::now();
        workers.iter_mut().for_each(|worker| worker.end_step(ended));
        self.n_steps += 1;
        self.time += ended - self.began;
        for (work, op) in self.work.iter_mut().zip(&plan.ops) {
            *work += op.work(plan, batch, kv_dtype);
        }
    }

    /// Takes the clocks away.
    pub(crate) fn finish(
        self,
        plan: &Plan,
        phases: &[Phase],
        workers: &mut [WorkerState],
        speed: Speed,
    ) -> Profile {
        let mut ops: Vec<_> =
            self.work.iter().map(|&work| OpProfile { work, ..OpProfile::default() }).collect();
        let n_workers = workers.len() as u32;
        for times in workers.iter_mut().filter_map(WorkerState::stop_clock) {
            for (phase, time) in phases.iter().zip(times) {
                ops[phase.op].time += (time.working + time.waiting) / n_workers;
                ops[phase.op].waiting += time.waiting / n_workers;
            }
        }
        plan.profile(self.n_steps, self.time, &ops, speed)
    }
}
