//! A worker of a call: which one it is, what it waits at, and its share of whatever is divided.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use crate::cpu::barrier::{Barrier, Poisoned};

/// One of the threads that execute a program. Only a team makes them.
#[derive(Debug)]
pub(crate) struct Worker<'t> {
    index: usize,
    count: usize,
    barrier: &'t Barrier,
    /// How long it has waited at barriers.
    waited: Cell<Duration>,
}

impl<'t> Worker<'t> {
    pub(super) fn new(index: usize, count: usize, barrier: &'t Barrier) -> Self {
        Self { index, count, barrier, waited: Cell::new(Duration::ZERO) }
    }

    /// Index of this worker in the team.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Number of workers in this call.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Waits for all workers of the call.
    ///
    /// # Errors
    /// If a worker panicked.
    pub(crate) fn barrier(&self) -> Result<(), Poisoned> {
        if self.count == 1 {
            return Ok(());
        }
        let waited = self.barrier.wait(self.count)?;
        self.waited.set(self.waited.get() + waited);
        Ok(())
    }

    /// How long it has waited at barriers.
    pub(super) fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// This worker's share of `0..n`; it begins and, except at `n`, ends at a multiple of `granularity`.
    pub(crate) fn share(&self, n: usize, granularity: usize) -> Range<usize> {
        share_of(self.index, self.count, n, granularity)
    }
}

/// The share of worker `index` of `count` in `0..n`. Shares are disjoint, cover all of it, and begin at multiples of
/// `granularity`.
pub(crate) fn share_of(index: usize, count: usize, n: usize, granularity: usize) -> Range<usize> {
    let n_grains = n.div_ceil(granularity);
    let at = |i: usize| (n_grains * i / count * granularity).min(n);
    at(index)..at(index + 1)
}

/// Part `index` of `count` parts of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Below `count`.
    pub(crate) index: usize,
    /// Number of parts.
    pub(crate) count: usize,
}

impl Part {
    /// This part of `0..n`, as [`share_of`] divides it.
    pub(crate) fn of(self, n: usize, granularity: usize) -> Range<usize> {
        share_of(self.index, self.count, n, granularity)
    }
}
