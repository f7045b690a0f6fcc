//! Which parts of a phase have been claimed, and by how many claims each worker's are used up.
//!
//! Each worker has a counter of the parts taken from it, so claims rarely meet on a cache line. Phases use two sets of
//! counters in turn: while one is used the other is reset, and the barrier between phases orders that.

use super::sync::{AtomicUsize, Ordering};
use super::team::{Part, Worker};

/// Which parts of a phase have been claimed.
#[derive(Debug)]
pub(crate) struct Claims {
    /// For phases of even and of odd index: how many of each worker's parts are taken.
    taken: [Vec<Counter>; 2],
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counter(AtomicUsize);

impl Claims {
    /// For calls of up to `n_workers`.
    pub(crate) fn new(n_workers: usize) -> Self {
        let counters = || (0..n_workers).map(|_| Counter::default()).collect();
        Self { taken: [counters(), counters()] }
    }

    /// Workers that there is room for.
    pub(crate) fn max_workers(&self) -> usize {
        self.taken[0].len()
    }

    /// Prepares the first phase.
    pub(crate) fn reset(&mut self) {
        for counter in self.taken.iter_mut().flatten() {
            counter.0 = AtomicUsize::new(0);
        }
    }

    /// The parts of a phase that `worker` computes, if each worker has `n_own`; a single one is never taken by others.
    /// Every worker calls this once per phase, all with the same numbers, after all have left the phase before. It also
    /// resets the counters of the next phase.
    pub(crate) fn of_phase(&self, phase: usize, worker: &Worker<'_>, n_own: usize) -> ClaimedParts<'_> {
        let (owner, n_workers) = (worker.index(), worker.count());
        self.taken[(phase + 1) % 2][owner].0.store(0, Ordering::Relaxed);
        let (only, n_owners_left) = if n_own == 1 { (Some(owner), 0) } else { (None, n_workers) };
        ClaimedParts { taken: &self.taken[phase % 2][..n_workers], only, owner, n_owners_left, n_own }
    }
}

/// Claims parts, one after the other.
#[derive(Debug)]
pub(crate) struct ClaimedParts<'a> {
    taken: &'a [Counter],
    /// A part that needs no claim.
    only: Option<usize>,
    /// The worker whose parts are claimed.
    owner: usize,
    /// Workers that may have parts left, this one included.
    n_owners_left: usize,
    n_own: usize,
}

impl Iterator for ClaimedParts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let count = self.taken.len() * self.n_own;
        if let Some(index) = self.only.take() {
            return Some(Part { index, count });
        }
        while self.n_owners_left > 0 {
            // Every number is given out once; the barrier after the phase orders what the parts write.
            let number = self.taken[self.owner].0.fetch_add(1, Ordering::Relaxed);
            if number < self.n_own {
                return Some(Part { index: self.owner * self.n_own + number, count });
            }
            self.owner = (self.owner + 1) % self.taken.len();
            self.n_owners_left -= 1;
        }
        None
    }
}
