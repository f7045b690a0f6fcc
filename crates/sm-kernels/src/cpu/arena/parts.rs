//! Cutting large products into parts that workers claim.
//!
//! ```text
//! parts      worker 0   │ 0 │ 1 │ 2 │ 3 │        own parts first, in order,
//!            worker 1   │ 4 │ 5 │ 6 │ 7 │        then what others have left
//! ```
//!
//! Equal shares leave all workers waiting for the slowest, and on a shared machine any of them may be interrupted: 7 %
//! of a prompt's time was waiting at barriers. With parts, prompts in Q4_0 ran 1.2 times as fast. Parts smaller than
//! [`PART_WORK`] gained nothing more. A worker keeps most of its own columns, whose weights it packed and may have in
//! its cache.
//!
//! Each worker has a counter of the parts taken from it, so claims rarely meet on a cache line. Phases use two sets of
//! counters in turn: while one is used the other is reset, and the barrier between phases orders that.
//!
//! Which worker computes an output does not change its bits.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Extents, RowCount};
use crate::cpu::split::Part;
use crate::cpu::team::Worker;

/// Multiplications of the smallest part: claiming it takes well below a thousandth of the time of computing it.
const PART_WORK: usize = 1 << 19;
/// The most parts per worker.
const MAX_PARTS: usize = 16;

/// The size of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProductSize {
    /// Rows of the result.
    pub(crate) rows: RowCount,
    /// Columns of the result.
    pub(crate) columns: usize,
    /// Parts begin at multiples of this many columns.
    pub(crate) granularity: usize,
    /// Multiplications per value of the result.
    pub(crate) depth: usize,
}

impl ProductSize {
    /// Parts of each of `n_workers`.
    pub(super) fn parts_per_worker(&self, step: Extents, n_workers: usize) -> usize {
        let work = self.rows.in_step(step).saturating_mul(self.columns).saturating_mul(self.depth);
        let most = (self.columns / self.granularity / n_workers).clamp(1, MAX_PARTS);
        (work / PART_WORK / n_workers).clamp(1, most)
    }
}

/// Which parts of a phase have been claimed.
#[derive(Debug)]
pub(super) struct Claims {
    /// For phases of even and of odd index: how many of each worker's parts are taken.
    taken: [Vec<Counter>; 2],
}

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counter(AtomicUsize);

impl Claims {
    pub(super) fn new(n_workers: usize) -> Self {
        let counters = || (0..n_workers).map(|_| Counter::default()).collect();
        Self { taken: [counters(), counters()] }
    }

    /// Workers that there is room for.
    pub(super) fn max_workers(&self) -> usize {
        self.taken[0].len()
    }

    /// Prepares the first phase.
    pub(super) fn reset(&mut self) {
        for counter in self.taken.iter_mut().flatten() {
            *counter.0.get_mut() = 0;
        }
    }

    /// The parts of a phase that `worker` computes, if each worker has `n_own`; a single one is never taken by others.
    /// Every worker calls this once per phase, all with the same numbers, after all have left the phase before. It also
    /// resets the counters of the next phase.
    pub(super) fn of_phase(&self, phase: usize, worker: &Worker<'_>, n_own: usize) -> ClaimedParts<'_> {
        let (owner, n_workers) = (worker.index(), worker.count());
        self.taken[(phase + 1) % 2][owner].0.store(0, Ordering::Relaxed);
        let (only, n_owners_left) = if n_own == 1 { (Some(owner), 0) } else { (None, n_workers) };
        ClaimedParts { taken: &self.taken[phase % 2][..n_workers], only, owner, n_owners_left, n_own }
    }
}

/// Claims parts, one after the other.
#[derive(Debug)]
pub(super) struct ClaimedParts<'a> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::team::Team;
    use crate::plan::Rows;

    #[test]
    fn every_part_is_claimed_once_in_every_phase() {
        for n_workers in 1..=4 {
            // There may be room for more workers than take part.
            let mut claims = Claims::new(4);
            for n_own in [1, 3, 16] {
                claims.reset();
                let counts: Vec<Vec<_>> =
                    (0..5).map(|_| (0..n_workers * n_own).map(|_| AtomicUsize::new(0)).collect()).collect();
                let body = |worker: &Worker<'_>| {
                    for (phase, counts) in counts.iter().enumerate() {
                        for part in claims.of_phase(phase, worker, n_own) {
                            assert_eq!(part.count, counts.len());
                            counts[part.index].fetch_add(1, Ordering::Relaxed);
                            // A slow worker leaves its parts to others.
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
        let step = |n_tokens| Extents { n_tokens, n_outputs: 1, n_workers: 2 };
        let size = |columns, depth| ProductSize {
            rows: RowCount::Per(Rows::Tokens, 1),
            columns,
            granularity: 32,
            depth,
        };
        assert_eq!(size(576, 1536).parts_per_worker(step(1), 2), 1);
        assert_eq!(size(2560, 2048).parts_per_worker(step(1), 2), 5);
        assert_eq!(size(2560, 2048).parts_per_worker(step(512), 2), MAX_PARTS);
        assert_eq!(size(192, 2048).parts_per_worker(step(512), 2), 3);
        assert_eq!(size(16, 2048).parts_per_worker(step(512), 2), 1);
        assert_eq!(size(2560, 2048).parts_per_worker(step(0), 2), 1);
    }
}
