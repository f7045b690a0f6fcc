//! The barrier between phases: a central counter with an epoch.
//!
//! ```text
//! arrive      the last worker resets the counter and advances the epoch; the others wait until the epoch changes
//! poison      a worker that panics releases all others, now and later, with an error
//! ```
//!
//! Teams are small and phases short, so one shared counter suffices; trees pay off with many more cores. Waiting spins
//! for a bounded time, since a barrier is usually over in less than a context switch takes, and then yields the core,
//! since another thread may need it to get here.
//!
//! Source: Mellor-Crummey & Scott 1991, the centralised barrier, with an epoch instead of a sense.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Checks before a waiting thread yields its core.
const SPINS: u32 = 1 << 10;

/// Another worker panicked; this one must leave the parallel region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poisoned;

/// Where all workers of a team wait for each other.
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

    /// Waits for all workers. What each wrote before is visible to all after.
    ///
    /// # Errors
    /// If a worker panicked.
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
        // Poison counts only if this barrier was not completed: a worker may panic after others have passed it.
        if self.epoch.load(Ordering::Acquire) == epoch { Err(Poisoned) } else { Ok(()) }
    }

    /// Releases all waiting workers, and all that arrive from now on.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Makes the barrier usable again. No worker may be in it.
    pub(crate) fn reset(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.poisoned.store(false, Ordering::Release);
    }
}

/// Spins until `condition` holds, and yields the core if that takes long.
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
