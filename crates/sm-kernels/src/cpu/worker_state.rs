//! What each worker has for itself from step to step: memory for products, and a clock while a profile is taken.

use std::time::{Duration, Instant};

use crate::cpu::ops::product::ProductWorkspace;

/// What one worker has for itself.
#[derive(Debug)]
pub(crate) struct WorkerState {
    workspace: ProductWorkspace,
    timeline: Option<Timeline>,
}

/// How long a worker computed its part of a phase, and waited for the others at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PhaseTime {
    pub(crate) working: Duration,
    pub(crate) waiting: Duration,
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

impl WorkerState {
    /// Without a clock.
    pub(crate) fn new(workspace: ProductWorkspace) -> Self {
        Self { workspace, timeline: None }
    }

    /// Runs this worker's part of a phase. Without a profile, no clock is read.
    pub(crate) fn timed(&mut self, part: impl FnOnce(&mut ProductWorkspace)) {
        let began = self.timeline.is_some().then(Instant::now);
        part(&mut self.workspace);
        if let (Some(began), Some(timeline)) = (began, &mut self.timeline) {
            timeline.add(began, Instant::now());
        }
    }

    /// Starts to add up the times of `n_phases` phases.
    pub(crate) fn start_clock(&mut self, n_phases: usize) {
        let phases = vec![PhaseTime::default(); n_phases];
        self.timeline = Some(Timeline { phases, next: n_phases, ended: Instant::now() });
    }

    /// A step begins.
    pub(crate) fn begin_step(&mut self) {
        if let Some(timeline) = &mut self.timeline {
            timeline.next = 0;
        }
    }

    /// A step ended.
    pub(crate) fn end_step(&mut self, ended: Instant) {
        if let Some(timeline) = &mut self.timeline {
            timeline.wait_until(ended);
            // What a panic cut short is not continued by whatever runs next.
            timeline.next = timeline.phases.len();
        }
    }

    /// Takes the clock away and gives the times of the phases, if they were measured.
    pub(crate) fn stop_clock(&mut self) -> Option<Vec<PhaseTime>> {
        self.timeline.take().map(|timeline| timeline.phases)
    }
}

impl Timeline {
    fn add(&mut self, began: Instant, ended: Instant) {
        if self.next < self.phases.len() {
            self.wait_until(began);
            self.phases[self.next].working += ended - began;
            self.next += 1;
            self.ended = ended;
        }
    }

    /// What lies between a worker's parts of two phases is the barrier.
    fn wait_until(&mut self, began: Instant) {
        if let Some(before) = self.next.checked_sub(1) {
            self.phases[before].waiting += began - self.ended;
        }
    }
}
