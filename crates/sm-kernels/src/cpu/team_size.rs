//! How many workers of a team compute a step.
//!
//! ```text
//! sizes of a team of 8     8   7   4   2   1
//!                              ◄───┼───►   ▲
//!                              trials go to the neighbours of the size in use, and to one worker
//! ```
//!
//! The whole team is not always the fastest. A step of a small model is over before several threads have agreed on it some
//! hundred times; and on a busy machine, a worker that waits for its core holds up all others at every barrier. Both
//! show in the same two figures: how long steps take, and how much of that the workers wait for each other. So sizes are
//! compared by trial, like a cautious player of a two-armed bandit:
//!
//! * Steps of about the same number of rows form a class, for which each size has a pace, in time per row.
//! * A smaller size is tried if workers wait for a large part of the time, or steps are short. A larger one is tried from
//!   time to time, for the machine may have become quiet.
//! * A trial is short, is given up if it goes badly, and the next is the later the more trials were lost: trials take no
//!   more than two percent of the time, however slow the wrong size is.
//!
//! The first size of a class follows from its work and the cost of a barrier. Results do not depend on sizes, for no
//! result depends on the number of workers, so this is about speed alone and may depend on the clock.
//!
//! The estimate alone could not decide: it knows nothing of other processes, of turbo clocks, or of two hardware threads
//! that share a core.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// Classes of steps: by the binary logarithm of their rows.
const N_CLASSES: usize = 21;

/// Share of the time that workers may wait for each other before a smaller size is tried.
const MUCH_WAITING: f64 = 0.15;
/// Steps so short that a smaller size is always worth a trial.
const SHORT: Duration = Duration::from_micros(500);

/// So much waiting in so few steps means that a worker has lost its core: no barrier takes as long. A smaller size is then
/// tried before the pace is known well, since every step lost to waiting may be a whole prompt of a small model.
const STALLED: f64 = 0.4;
const STALLED_TIME: Duration = Duration::from_millis(2);
const STALLED_STEPS: u32 = 2;

/// Steps that make a measurement; fewer if they are long.
const ENOUGH_STEPS: u32 = 8;
const ENOUGH_LONG_STEPS: u32 = 3;
/// Time that makes a measurement: a few time slices of the scheduler, so that a busy core shows.
const ENOUGH_TIME: Duration = Duration::from_millis(12);
/// The same for a larger size: threads that have slept have credit with the scheduler, and are fast until it is spent.
const ENOUGH_TIME_LARGER: Duration = Duration::from_millis(50);
/// A trial is given up once it takes this many times as long as the size in use would have, plus a time slice.
const HOPELESS: f64 = 1.25;
const SLICE: Duration = Duration::from_millis(6);
/// A trial is won only if it is faster by this factor.
const MARGIN: f64 = 0.92;

/// Time between two trials of a class, which doubles when one is lost and halves when one is won.
const MIN_INTERVAL: Duration = Duration::from_millis(30);
const MAX_INTERVAL: Duration = Duration::from_secs(2);
/// Time after a trial that was lost, in multiples of what it took.
const DISTANCE: u32 = 50;
/// The same after one that was won: a size in use for so short a time may have won by luck.
const DISTANCE_IF_WON: u32 = 5;

/// Half-life of the measurements of a size.
const MEMORY: Duration = Duration::from_millis(40);
/// A size that has become this many times slower is compared with others at once.
const MUCH_SLOWER: f64 = 1.5;

/// Chooses sizes, and learns from what they led to.
#[derive(Debug)]
pub(crate) struct TeamSize {
    /// Descending; the first is the whole team.
    sizes: Vec<usize>,
    classes: Vec<Class>,
}

/// What a step took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepTime {
    /// From its start to its end.
    pub(crate) total: Duration,
    /// The longest time that a worker waited at barriers.
    pub(crate) waited: Duration,
}

/// Steps of about one size.
#[derive(Clone, Debug)]
struct Class {
    /// The size in use, by its index.
    current: usize,
    pace: Option<Pace>,
    trial: Option<Trial>,
    /// What all steps took together: the clock of the trials, so that they take the same part of the time however rare
    /// such steps are.
    time: Duration,
    /// No trial begins before.
    next_trial: Duration,
    interval: Duration,
    /// Trials so far.
    n_trials: usize,
}

/// The steps of the size in use: sums of which half is forgotten in about [`MEMORY`].
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    counted: Counted,
    n_steps: f64,
    n_rows: f64,
    time: f64,
    waited: f64,
    /// The least time per row so far.
    best: f64,
}

impl Pace {
    /// Seconds per row.
    fn per_row(&self) -> f64 {
        self.time / self.n_rows
    }

    /// Whether workers wait for one that has lost its core.
    fn is_stalled(&self) -> bool {
        self.counted.n_steps >= STALLED_STEPS
            && self.waited > STALLED * self.time
            && self.waited > STALLED_TIME.as_secs_f64()
    }

    fn add(&mut self, n_rows: usize, time: StepTime) {
        let seconds = time.total.as_secs_f64();
        let kept = 0.5_f64.powf(seconds / MEMORY.as_secs_f64());
        self.n_steps = kept * self.n_steps + 1.0;
        self.n_rows = kept * self.n_rows + n_rows.max(1) as f64;
        self.time = kept * self.time + seconds;
        self.waited = kept * self.waited + time.waited.as_secs_f64();
    }
}

/// A size that is tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    size: usize,
    pace: Pace,
}

/// How much is known of a size.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    n_steps: u32,
    time: Duration,
    /// Whether there was a step before: the first one of a size is cold and does not count, unless it is long.
    is_warm: bool,
}

impl Counted {
    /// Counts a step, if it counts.
    fn add(&mut self, time: Duration) -> bool {
        if !std::mem::replace(&mut self.is_warm, true) && time < ENOUGH_TIME {
            return false;
        }
        self.n_steps += 1;
        self.time += time;
        true
    }

    fn is_enough(&self, time: Duration) -> bool {
        let is_long = self.n_steps >= ENOUGH_LONG_STEPS && self.time >= 2 * time;
        is_long || (self.n_steps >= ENOUGH_STEPS && self.time >= time)
    }
}

impl TeamSize {
    /// Sizes of a team of `n_workers`, beginning with the whole team.
    pub(crate) fn new(n_workers: usize) -> Self {
        let halves = std::iter::successors(Some(n_workers / 2), |size| Some(size / 2));
        let mut sizes = vec![n_workers, n_workers.saturating_sub(1)];
        sizes.extend(halves.take_while(|size| *size > 0));
        sizes.dedup();
        sizes.retain(|size| *size > 0);
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.dedup();
        Self { sizes, classes: vec![Class::default(); N_CLASSES] }
    }

    /// A team whose steps always have all workers.
    pub(crate) fn fixed(n_workers: usize) -> Self {
        Self { sizes: vec![n_workers], classes: vec![Class::default(); N_CLASSES] }
    }

    /// Whether there is nothing to choose.
    pub(crate) fn is_fixed(&self) -> bool {
        self.sizes.len() == 1
    }

    /// Begins with the sizes that `estimate` gives for numbers of rows.
    pub(crate) fn begin_with(&mut self, estimate: impl Fn(usize) -> usize) {
        for (index, class) in self.classes.iter_mut().enumerate() {
            let wanted = estimate(1 << index);
            class.current = self.sizes.iter().position(|size| *size <= wanted).unwrap_or(0);
        }
    }

    /// Workers for a step of `n_rows`.
    pub(crate) fn choose(&mut self, n_rows: usize) -> usize {
        let n_sizes = self.sizes.len();
        let class = &mut self.classes[class_of(n_rows)];
        if class.trial.is_none() && class.next_trial <= class.time {
            class.trial = class.candidate(n_sizes).map(Trial::new);
        }
        self.sizes[class.trial.map_or(class.current, |trial| trial.size)]
    }

    /// Learns from the step for which a size was chosen last.
    pub(crate) fn record(&mut self, n_rows: usize, time: StepTime) {
        if !self.is_fixed() {
            self.classes[class_of(n_rows)].record(n_rows, time);
        }
    }
}

fn class_of(n_rows: usize) -> usize {
    (n_rows.max(1).ilog2() as usize).min(N_CLASSES - 1)
}

impl Default for Class {
    fn default() -> Self {
        Self {
            current: 0,
            pace: None,
            trial: None,
            time: Duration::ZERO,
            next_trial: Duration::ZERO,
            interval: MIN_INTERVAL,
            n_trials: 0,
        }
    }
}

impl Class {
    /// The size that should be tried now, by its index.
    fn candidate(&mut self, n_sizes: usize) -> Option<usize> {
        let is_known = |pace: &Pace| pace.counted.is_enough(ENOUGH_TIME) || pace.is_stalled();
        let pace = self.pace.filter(is_known)?;
        let waits = pace.waited > MUCH_WAITING * pace.time;
        let is_short = pace.time < SHORT.as_secs_f64() * pace.n_steps;
        let next = self.current + 1;
        let has_smaller = (waits || is_short) && next < n_sizes;
        // One worker has no barriers at all, so it may win where fewer workers lose.
        let smaller = [next, n_sizes - 1].map(|size| has_smaller.then_some(size));
        let larger = self.current.checked_sub(1);
        let candidates = [smaller[0], larger, smaller[1].filter(|size| *size != next)];
        self.n_trials += 1;
        candidates.into_iter().flatten().cycle().nth(self.n_trials % candidates.len())
    }

    fn record(&mut self, n_rows: usize, time: StepTime) {
        self.time += time.total;
        let Some(trial) = &mut self.trial else {
            self.learn(n_rows, time);
            return;
        };
        if trial.pace.counted.add(time.total) {
            trial.pace.add(n_rows, time);
        }
        let trial = *trial;
        let expected = self.pace.map_or(f64::INFINITY, |pace| pace.per_row()) * trial.pace.n_rows;
        let is_hopeless = trial.pace.time > HOPELESS * expected + SLICE.as_secs_f64();
        let enough = if trial.size < self.current { ENOUGH_TIME_LARGER } else { ENOUGH_TIME };
        if is_hopeless || trial.pace.counted.is_enough(enough) {
            self.end(trial);
        }
    }

    /// Measures the pace of the size in use.
    fn learn(&mut self, n_rows: usize, time: StepTime) {
        let pace = self.pace.get_or_insert_default();
        if !pace.counted.add(time.total) {
            return;
        }
        pace.add(n_rows, time);
        let per_row = pace.per_row();
        if !pace.counted.is_enough(ENOUGH_TIME) {
            pace.best = per_row;
        } else if per_row > MUCH_SLOWER * pace.best {
            pace.best = per_row;
            self.next_trial = self.next_trial.min(self.time);
        } else {
            pace.best = pace.best.min(per_row);
        }
    }

    /// Keeps the faster size.
    fn end(&mut self, trial: Trial) {
        self.trial = None;
        let per_row = trial.pace.per_row();
        let distance = if self.pace.is_none_or(|pace| per_row < MARGIN * pace.per_row()) {
            self.current = trial.size;
            self.pace = Some(Pace { best: per_row, ..trial.pace });
            self.interval = (self.interval / 2).max(MIN_INTERVAL);
            DISTANCE_IF_WON
        } else {
            self.interval = (2 * self.interval).min(MAX_INTERVAL);
            DISTANCE
        };
        self.next_trial = self.time + self.interval.max(distance * trial.pace.counted.time);
    }
}

impl Trial {
    fn new(size: usize) -> Self {
        Self { size, pace: Pace::default() }
    }
}
