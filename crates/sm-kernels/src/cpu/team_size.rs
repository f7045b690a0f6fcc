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
//! * A lost core is lost to all classes. The size to which one class has fled is where others begin that know nothing yet:
//!   a prompt of a small model is over before it has lost a core often enough to notice.
//!
//! The first size of a class follows from its work and the cost of a barrier. Results do not depend on sizes, for no
//! result depends on the number of workers, so this is about speed alone and may depend on the clock.
//!
//! The estimate alone could not decide: it knows nothing of other processes, of turbo clocks, or of two hardware threads
//! that share a core.

use std::time::Duration;

mod pace;
#[cfg(test)]
mod tests;

pub(crate) use pace::StepTime;

use pace::{ENOUGH_TIME, Pace};

/// Classes of steps: by the binary logarithm of their rows.
const N_CLASSES: usize = 21;

/// Share of the time that workers may wait for each other before a smaller size is tried.
const MUCH_WAITING: f64 = 0.15;
/// Steps so short that a smaller size is always worth a trial.
const SHORT: Duration = Duration::from_micros(500);

/// Time that makes a measurement of a larger size: threads that have slept have credit with the scheduler, and are fast until it is spent.
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

/// Time for which a class keeps to a size that it has from another one before it tries for itself.
const ADOPTED: Duration = Duration::from_millis(400);
/// How long the size to which a class has fled is news, in the time of all steps.
const NEWS: Duration = Duration::from_secs(1);

/// A size that has become this many times slower is compared with others at once, if it is since workers wait for each
/// other. A lone worker that shares its core is as slow as that every few time slices.
const MUCH_SLOWER: f64 = 1.5;

/// Chooses sizes, and learns from what they led to.
#[derive(Debug)]
pub(crate) struct TeamSize {
    /// Descending; the first is the whole team.
    sizes: Vec<usize>,
    classes: Vec<Class>,
    /// What all steps took together.
    time: Duration,
    refuge: Option<Refuge>,
}

/// The size to which a class has fled from waiting for a lost core.
#[derive(Clone, Copy, Debug)]
struct Refuge {
    size: usize,
    since: Duration,
}

/// A change of size that tells other classes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// To this size, from waiting for a lost core.
    Fled(usize),
    /// To a larger size.
    Grown,
}

/// Steps of about one size.
#[derive(Clone, Debug)]
struct Class {
    /// The size in use, by its index.
    current: usize,
    /// Whether it has the size from another class.
    is_adopted: bool,
    pace: Option<Pace>,
    /// The least time per row so far.
    best: f64,
    trial: Option<Trial>,
    /// What all steps took together: the clock of the trials, so that they take the same part of the time however rare
    /// such steps are.
    time: Duration,
    /// What the last step took.
    last: Option<Duration>,
    /// No trial begins before.
    next_trial: Duration,
    interval: Duration,
    /// Trials so far.
    n_trials: usize,
}

/// A size that is tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    size: usize,
    pace: Pace,
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
        Self::of_sizes(sizes)
    }

    /// A team whose steps always have all workers.
    pub(crate) fn fixed(n_workers: usize) -> Self {
        Self::of_sizes(vec![n_workers])
    }

    fn of_sizes(sizes: Vec<usize>) -> Self {
        Self { sizes, classes: vec![Class::default(); N_CLASSES], time: Duration::ZERO, refuge: None }
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
        let refuge = self.refuge.filter(|refuge| self.time < refuge.since + NEWS);
        let class = &mut self.classes[class_of(n_rows)];
        if let Some(refuge) = refuge {
            class.adopt(refuge.size);
        }
        if class.trial.is_none() && class.next_trial <= class.time {
            class.trial = class.candidate(n_sizes).map(Trial::new);
        }
        self.sizes[class.trial.map_or(class.current, |trial| trial.size)]
    }

    /// Learns from the step for which a size was chosen last.
    pub(crate) fn record(&mut self, n_rows: usize, time: StepTime) {
        if self.is_fixed() {
            return;
        }
        self.time += time.total;
        match self.classes[class_of(n_rows)].record(n_rows, time) {
            Some(Move::Fled(size)) => self.refuge = Some(Refuge { size, since: self.time }),
            // The core is back: whoever has only heard of its loss should try.
            Some(Move::Grown) => {
                self.refuge = None;
                self.classes.iter_mut().for_each(Class::doubt);
            }
            None => {}
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
            is_adopted: false,
            pace: None,
            best: f64::INFINITY,
            trial: None,
            time: Duration::ZERO,
            last: None,
            next_trial: Duration::ZERO,
            interval: MIN_INTERVAL,
            n_trials: 0,
        }
    }
}

impl Class {
    /// The size that should be tried now, by its index.
    fn candidate(&mut self, n_sizes: usize) -> Option<usize> {
        let is_known = |pace: &Pace| pace.is_known(ENOUGH_TIME) || pace.is_stalled();
        let pace = self.pace.filter(is_known)?;
        let waits = pace.waiting() > MUCH_WAITING;
        let is_short = pace.per_step() < SHORT.as_secs_f64();
        let next = self.current + 1;
        let has_smaller = (waits || is_short) && next < n_sizes;
        // One worker has no barriers at all, so it may win where fewer workers lose.
        let smaller = [next, n_sizes - 1].map(|size| has_smaller.then_some(size));
        let larger = self.current.checked_sub(1);
        let candidates = [smaller[0], larger, smaller[1].filter(|size| *size != next)];
        self.n_trials += 1;
        candidates.into_iter().flatten().cycle().nth(self.n_trials % candidates.len())
    }

    /// Takes a size from another class, if it knows little of its own. Long steps find out fast enough, and would lose most if
    /// the news was false.
    fn adopt(&mut self, size: usize) {
        let is_known = self.pace.is_some_and(|pace| pace.is_known(ENOUGH_TIME));
        let is_short = self.last.is_some_and(|last| last < ENOUGH_TIME);
        if self.current < size && self.trial.is_none() && is_short && !is_known {
            (self.current, self.is_adopted, self.pace) = (size, true, None);
            self.next_trial = self.time + ADOPTED;
        }
    }

    /// Tries soon whether an adopted size is still right.
    fn doubt(&mut self) {
        if self.is_adopted {
            self.next_trial = self.next_trial.min(self.time);
        }
    }

    fn record(&mut self, n_rows: usize, time: StepTime) -> Option<Move> {
        self.time += time.total;
        self.last = Some(time.total);
        let Some(trial) = &mut self.trial else {
            self.learn(n_rows, time);
            return None;
        };
        trial.pace.add(n_rows, time);
        let trial = *trial;
        let (seconds, n_tried) = trial.pace.remembered();
        let expected = self.pace.map_or(f64::INFINITY, |pace| pace.per_row()) * n_tried;
        let is_hopeless = seconds > HOPELESS * expected + SLICE.as_secs_f64();
        let enough = if trial.size < self.current { ENOUGH_TIME_LARGER } else { ENOUGH_TIME };
        if is_hopeless || trial.pace.is_known(enough) { self.end(trial) } else { None }
    }

    /// Measures the pace of the size in use.
    fn learn(&mut self, n_rows: usize, time: StepTime) {
        let pace = self.pace.get_or_insert_default();
        if !pace.add(n_rows, time) {
            return;
        }
        let per_row = pace.per_row();
        if !pace.is_known(ENOUGH_TIME) {
            self.best = per_row;
        } else if per_row > MUCH_SLOWER * self.best && pace.waiting() > MUCH_WAITING {
            self.best = per_row;
            self.next_trial = self.next_trial.min(self.time);
        } else {
            self.best = self.best.min(per_row);
        }
    }

    /// Keeps the faster size.
    fn end(&mut self, trial: Trial) -> Option<Move> {
        self.trial = None;
        let per_row = trial.pace.per_row();
        let (distance, moved) = if self.pace.is_none_or(|pace| per_row < MARGIN * pace.per_row()) {
            let is_flight = self.pace.is_some_and(|pace| pace.is_stalled());
            let moved = match trial.size < self.current {
                true => Some(Move::Grown),
                false => is_flight.then_some(Move::Fled(trial.size)),
            };
            (self.current, self.is_adopted) = (trial.size, false);
            (self.pace, self.best) = (Some(trial.pace), per_row);
            self.interval = (self.interval / 2).max(MIN_INTERVAL);
            (DISTANCE_IF_WON, moved)
        } else {
            self.interval = (2 * self.interval).min(MAX_INTERVAL);
            (DISTANCE, None)
        };
        self.next_trial = self.time + self.interval.max(distance * trial.pace.counted_time());
        moved
    }
}

impl Trial {
    fn new(size: usize) -> Self {
        Self { size, pace: Pace::default() }
    }
}
