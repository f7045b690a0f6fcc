//! What is known of a size: its pace, and whether that is enough.

use std::time::Duration;

/// So much waiting in so few steps means that a worker has lost its core: no barrier takes as long. A smaller size is then
/// tried before the pace is known well, since every step lost to waiting may be a whole prompt of a small model.
const STALLED: f64 = 0.4;
const STALLED_TIME: Duration = Duration::from_millis(2);
const STALLED_STEPS: u32 = 2;

/// Steps that make a measurement; fewer if they are long.
const ENOUGH_STEPS: u32 = 8;
const ENOUGH_LONG_STEPS: u32 = 3;
/// Time that makes a measurement: a few time slices of the scheduler, so that a busy core shows.
pub(super) const ENOUGH_TIME: Duration = Duration::from_millis(12);

/// Half-life of the measurements of a size.
const MEMORY: Duration = Duration::from_millis(40);

/// What a step took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepTime {
    /// From its start to its end.
    pub(crate) total: Duration,
    /// The longest time that a worker waited at barriers.
    pub(crate) waited: Duration,
}

/// The steps of a size: sums of which half is forgotten in about [`MEMORY`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    n_steps: f64,
    n_rows: f64,
    time: f64,
    waited: f64,
    /// All steps that counted, and their time.
    n_counted: u32,
    counted_time: Duration,
    /// Whether there was a step before: the first one of a size is cold and does not count, unless it is long.
    is_warm: bool,
}

impl Pace {
    /// Adds a step. Returns whether it counts.
    pub(super) fn add(&mut self, n_rows: usize, time: StepTime) -> bool {
        if !std::mem::replace(&mut self.is_warm, true) && time.total < ENOUGH_TIME {
            return false;
        }
        self.n_counted += 1;
        self.counted_time += time.total;
        let seconds = time.total.as_secs_f64();
        let kept = 0.5_f64.powf(seconds / MEMORY.as_secs_f64());
        self.n_steps = kept * self.n_steps + 1.0;
        self.n_rows = kept * self.n_rows + n_rows.max(1) as f64;
        self.time = kept * self.time + seconds;
        self.waited = kept * self.waited + time.waited.as_secs_f64();
        true
    }

    /// Whether the pace is known well, after `time`.
    pub(super) fn is_known(&self, time: Duration) -> bool {
        let is_long = self.n_counted >= ENOUGH_LONG_STEPS && self.counted_time >= 2 * time;
        is_long || (self.n_counted >= ENOUGH_STEPS && self.counted_time >= time)
    }

    /// Whether workers wait for one that has lost its core.
    pub(super) fn is_stalled(&self) -> bool {
        self.n_counted >= STALLED_STEPS
            && self.waited > STALLED * self.time
            && self.waited > STALLED_TIME.as_secs_f64()
    }

    /// Seconds per row.
    pub(super) fn per_row(&self) -> f64 {
        self.time / self.n_rows
    }

    /// Seconds per step.
    pub(super) fn per_step(&self) -> f64 {
        self.time / self.n_steps
    }

    /// Share of the time that workers wait for each other.
    pub(super) fn waiting(&self) -> f64 {
        self.waited / self.time
    }

    /// Seconds of the steps that are remembered, and their rows.
    pub(super) fn remembered(&self) -> (f64, f64) {
        (self.time, self.n_rows)
    }

    /// Time of all steps that counted.
    pub(super) fn counted_time(&self) -> Duration {
        self.counted_time
    }
}
