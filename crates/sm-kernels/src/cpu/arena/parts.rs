//! The parts of a phase: who computes which.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Extents, RowCount};
use crate::cpu::split::Part;

/// Multiplications that are worth a part of their own: to claim one takes well below a thousandth of the time.
const PART_WORK: usize = 1 << 19;
/// The most parts per worker.
const MAX_PARTS: usize = 16;

/// How large a phase is that can be cut into any number of parts: a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Rows of the result.
    pub(crate) rows: RowCount,
    /// Columns of the result.
    pub(crate) columns: usize,
    /// The least columns of a part.
    pub(crate) unit: usize,
    /// Multiplications for a value of the result.
    pub(crate) depth: usize,
}

impl Size {
    /// Parts for each of `n_workers`, so that one which is slow, or was interrupted, leaves some to the others.
    pub(super) fn parts_per_worker(&self, step: Extents, n_workers: usize) -> usize {
        let work = self.rows.in_step(step).saturating_mul(self.columns).saturating_mul(self.depth);
        let most = (self.columns / self.unit / n_workers).clamp(1, MAX_PARTS);
        (work / PART_WORK / n_workers).clamp(1, most)
    }
}

/// Which parts of a phase are taken: each worker has some, takes them in order, then those that others have left.
#[derive(Debug)]
pub(super) struct Claims {
    /// Parts taken of each worker's, in phases with even and with odd numbers.
    taken: [Vec<Counter>; 2],
}

/// On a cache line of its own: workers write theirs all the time.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counter(AtomicUsize);

impl Claims {
    pub(super) fn new(n_workers: usize) -> Self {
        let counters = || (0..n_workers).map(|_| Counter::default()).collect();
        Self { taken: [counters(), counters()] }
    }

    /// Of how many workers.
    pub(super) fn n_workers(&self) -> usize {
        self.taken[0].len()
    }

    /// Nothing is taken of the first phase.
    pub(super) fn reset(&mut self) {
        for counter in self.taken.iter_mut().flatten() {
            *counter.0.get_mut() = 0;
        }
    }

    /// The parts of a phase for `worker`, where each has `n_own`: a single one is always its own. Every worker calls this once
    /// in each phase, all with the same numbers, and all have left the phase before. The phase after it starts afresh.
    pub(super) fn of_phase(&self, phase: usize, worker: usize, n_own: usize) -> Claimed<'_> {
        self.taken[(phase + 1) % 2][worker].0.store(0, Ordering::Relaxed);
        let (only, n_left) = if n_own == 1 { (Some(worker), 0) } else { (None, self.n_workers()) };
        Claimed { taken: &self.taken[phase % 2], only, owner: worker, n_left, n_own }
    }
}

/// Claims parts, one after the other.
#[derive(Debug)]
pub(super) struct Claimed<'a> {
    taken: &'a [Counter],
    /// A part that needs no claim.
    only: Option<usize>,
    /// Whose parts come next.
    owner: usize,
    /// Owners that may have parts.
    n_left: usize,
    n_own: usize,
}

impl Iterator for Claimed<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let count = self.taken.len() * self.n_own;
        if let Some(index) = self.only.take() {
            return Some(Part { index, count });
        }
        while self.n_left > 0 {
            // Every number is given once, and the barrier between phases orders what the parts write.
            let number = self.taken[self.owner].0.fetch_add(1, Ordering::Relaxed);
            if number < self.n_own {
                return Some(Part { index: self.owner * self.n_own + number, count });
            }
            self.owner = (self.owner + 1) % self.taken.len();
            self.n_left -= 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::team::{Team, Worker};
    use crate::plan::Rows;

    #[test]
    fn every_part_is_claimed_once_in_every_phase() {
        for n_workers in 1..=4 {
            let mut claims = Claims::new(n_workers);
            for n_own in [1, 3, 16] {
                claims.reset();
                let counts: Vec<Vec<_>> =
                    (0..5).map(|_| (0..n_workers * n_own).map(|_| AtomicUsize::new(0)).collect()).collect();
                let body = |worker: &Worker<'_>| {
                    for (phase, counts) in counts.iter().enumerate() {
                        for part in claims.of_phase(phase, worker.index(), n_own) {
                            assert_eq!(part.count, counts.len());
                            counts[part.index].fetch_add(1, Ordering::Relaxed);
                            // One that is slow leaves its parts to others.
                            if worker.index() == phase % n_workers {
                                std::thread::yield_now();
                            }
                        }
                        worker.barrier()?;
                    }
                    Ok(())
                };
                Team::new(n_workers).unwrap().run(body).unwrap();
                assert!(counts.iter().flatten().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn small_products_are_not_cut() {
        let step = |n_tokens| Extents { n_tokens, n_outputs: 1 };
        let size = |columns, depth| Size { rows: RowCount::Per(Rows::Tokens, 1), columns, unit: 32, depth };
        assert_eq!(size(576, 1536).parts_per_worker(step(1), 2), 1);
        assert_eq!(size(2560, 2048).parts_per_worker(step(1), 2), 5);
        assert_eq!(size(2560, 2048).parts_per_worker(step(512), 2), MAX_PARTS);
        assert_eq!(size(192, 2048).parts_per_worker(step(512), 2), 3);
        assert_eq!(size(16, 2048).parts_per_worker(step(512), 2), 1);
        assert_eq!(size(2560, 2048).parts_per_worker(step(0), 2), 1);
    }
}
