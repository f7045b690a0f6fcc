//! The meeting point of a team's workers.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Checks before a waiting thread offers its core to others.
const SPINS: u32 = 1 << 10;

/// Another worker panicked; this one must leave the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poisoned;

/// Waits for all workers; spins a bounded time, then yields.
#[derive(Debug)]
pub(crate) struct Barrier {
    n_workers: usize,
    arrived: AtomicUsize,
    epoch: AtomicUsize,
    poisoned: AtomicBool,
}

impl Barrier {
    /// A barrier for `n_workers`.
    pub(crate) fn new(n_workers: usize) -> Self {
        Self {
            n_workers,
            arrived: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    /// Waits for all workers. Everything that any of them wrote before is visible after.
    pub(crate) fn wait(&self) -> Result<(), Poisoned> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.n_workers {
            self.arrived.store(0, Ordering::Relaxed);
            self.epoch.store(epoch.wrapping_add(1), Ordering::Release);
        } else {
            wait_until(|| {
                self.epoch.load(Ordering::Acquire) != epoch || self.poisoned.load(Ordering::Acquire)
            });
        }
        // A worker that panicked after the last barrier must not stop the others in this one.
        if self.epoch.load(Ordering::Acquire) == epoch { Err(Poisoned) } else { Ok(()) }
    }

    /// Lets all waiting workers, and all that come, leave.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Makes the barrier usable again; no worker may be near it.
    pub(crate) fn reset(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.poisoned.store(false, Ordering::Release);
    }
}

/// Spins until `condition` holds, and yields the core when that takes long.
pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let mut spins = 0;
    while !condition() {
        if spins < SPINS {
            spins += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}
