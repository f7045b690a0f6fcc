//! The barrier between phases: a central counter with an epoch.
//!
//! ```text
//! arrive      the last worker resets the counter and advances the epoch; the others wait until the epoch changes
//! poison      a worker that panics releases all others, now and later, with an error
//! ```
//!
//! Teams are small and phases short, so one shared counter suffices; trees pay off with many more cores.
//!
//! Source: Mellor-Crummey & Scott 1991, the centralised barrier, with an epoch instead of a sense.

use std::time::Duration;

use super::signal::Signal;
use super::sync::{AtomicUsize, Ordering};

/// How long a worker waits before it sleeps: about what it costs to sleep and to be woken, on a virtual machine.
pub(crate) const PATIENCE: Duration = Duration::from_micros(50);

/// The bit of the signal that says that a worker panicked; the epoch is above it.
const POISON: u32 = 1;
/// One epoch.
const EPOCH: u32 = 2;

/// Another worker panicked; this one must leave the parallel region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poisoned;

/// Where all workers of a team wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Barrier {
    arrived: AtomicUsize,
    signal: Signal,
}

impl Barrier {
    /// Waits until `n_workers` are here, as all of them say. What each wrote before is visible to all after. Returns how long
    /// the wait was.
    ///
    /// # Errors
    /// If a worker panicked.
    pub(crate) fn wait(&self, n_workers: usize) -> Result<Duration, Poisoned> {
        let before = self.signal.value();
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == n_workers {
            self.arrived.store(0, Ordering::Relaxed);
            self.signal.add(EPOCH);
            return Ok(Duration::ZERO);
        }
        let is_over = |value: u32| value & !POISON != before & !POISON;
        let waited = self.signal.wait_until(PATIENCE, |value| is_over(value) || value & POISON != 0);
        // Poison counts only if this barrier was not completed: a worker may panic after others have passed it.
        if is_over(self.signal.value()) { Ok(waited) } else { Err(Poisoned) }
    }

    /// Releases all waiting workers, and all that arrive from now on.
    pub(crate) fn poison(&self) {
        self.signal.set_bits(POISON);
    }

    /// Makes the barrier usable again. No worker may be in it.
    pub(crate) fn reset(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.signal.reset();
    }
}
