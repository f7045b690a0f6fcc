//! Clocks around the phases of steps, while someone asks where their time goes.

use std::time::{Duration, Instant};

use super::program::Phase;
use crate::cpu::ops::product::ProductWorkspace;
use crate::plan::{KvDType, OpProfile, Plan, Profile, Speed, StepBatch, Work};

/// What one worker has for itself.
#[derive(Debug)]
pub(crate) struct Local {
    /// Memory of the matrix products.
    pub(crate) scratch: ProductWorkspace,
    timeline: Option<Timeline>,
}

/// Times of one worker in each phase, added up over steps.
#[derive(Debug)]
struct Timeline {
    phases: Vec<PhaseTime>,
    /// The phase that comes next; beyond the last between steps.
    next: usize,
    /// When the worker ended its part of the phase before.
    ended: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct PhaseTime {
    working: Duration,
    waiting: Duration,
}

impl Local {
    /// Without a clock.
    pub(crate) fn new(scratch: ProductWorkspace) -> Self {
        Self { scratch, timeline: None }
    }

    /// Runs this worker's part of a phase; without a profile, no clock is read.
    pub(crate) fn timed(&mut self, part: impl FnOnce(&mut ProductWorkspace)) {
        let began = self.timeline.is_some().then(Instant::now);
        part(&mut self.scratch);
        if let (Some(began), Some(timeline)) = (began, &mut self.timeline) {
            timeline.add(began, Instant::now());
        }
    }
}

impl Timeline {
    fn add(&mut self, began: Instant, ended: Instant) {
        if self.next < self.phases.len() {
            self.wait_until(began);
            self.phases[self.next].working += ended - began;
            (self.next, self.ended) = (self.next + 1, ended);
        }
    }

    /// What lies between a worker's parts of two phases is the barrier.
    fn wait_until(&mut self, began: Instant) {
        if let Some(before) = self.next.checked_sub(1) {
            self.phases[before].waiting += began - self.ended;
        }
    }
}

/// Adds up where the time of steps goes.
#[derive(Debug)]
pub(crate) struct Profiler {
    n_steps: usize,
    time: Duration,
    /// The work of each op in all steps.
    work: Vec<Work>,
}

impl Profiler {
    /// Gives each worker a clock.
    pub(crate) fn start(plan: &Plan, phases: &[Phase], locals: &mut [Local]) -> Self {
        for local in locals {
            let times = vec![PhaseTime::default(); phases.len()];
            local.timeline = Some(Timeline { phases: times, next: phases.len(), ended: Instant::now() });
        }
        Self { n_steps: 0, time: Duration::ZERO, work: vec![Work::default(); plan.ops.len()] }
    }

    /// A step begins.
    pub(crate) fn begin_step(locals: &mut [Local]) {
        locals.iter_mut().filter_map(|local| local.timeline.as_mut()).for_each(|timeline| timeline.next = 0);
    }

    /// A step that began at `began` has ended.
    pub(crate) fn end_step(
        &mut self,
        began: Instant,
        (plan, batch, kv_dtype): (&Plan, &StepBatch<'_>, KvDType),
        locals: &mut [Local],
    ) {
        let ended = Instant::now();
        for timeline in locals.iter_mut().filter_map(|local| local.timeline.as_mut()) {
            timeline.wait_until(ended);
            // What a panic cut short is not continued by whatever runs next.
            timeline.next = timeline.phases.len();
        }
        self.n_steps += 1;
        self.time += ended - began;
        for (work, op) in self.work.iter_mut().zip(&plan.ops) {
            *work += op.work(plan, batch, kv_dtype);
        }
    }

    /// Takes the clocks away. Times are means over the workers, whose clocks together cover the step.
    pub(crate) fn finish(
        self,
        plan: &Plan,
        phases: &[Phase],
        (locals, speed): (&mut [Local], Speed),
    ) -> Profile {
        let mut ops: Vec<_> =
            self.work.iter().map(|&work| OpProfile { work, ..OpProfile::default() }).collect();
        let n_workers = locals.len() as u32;
        for timeline in locals.iter_mut().filter_map(|local| local.timeline.take()) {
            for (phase, time) in phases.iter().zip(timeline.phases) {
                ops[phase.op].time += (time.working + time.waiting) / n_workers;
                ops[phase.op].waiting += time.waiting / n_workers;
            }
        }
        plan.profile(self.n_steps, self.time, &ops, speed)
    }
}
