//! A number that threads wait on: they spin for a moment, then sleep until it changes.
//!
//! ```text
//! waits    │ spin │ read the clock and spin, up to the caller's patience │ sleep in the kernel (futex)
//! changes  add to the number; wake the sleepers, if there are any
//! ```
//!
//! Spinning for about as long as going to sleep and waking up costs is at most twice as slow as knowing beforehand which
//! would have been better (Karlin, Manasse, McGeoch & Owicki 1991). Sleeping is what makes a busy machine bearable: the
//! thread that is waited for may need this very core. Spinning and then yielding forever collapsed there: a yield offers
//! the whole time slice, some milliseconds, whatever happens meanwhile.

use std::time::Duration;

use super::sync::{self, AtomicU32, CHECKS_BEFORE_CLOCK, Instant, Ordering};

/// Checks between two looks at the clock.
const CHECKS_PER_LOOK: u32 = 16;

/// A number, and who sleeps until it changes.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Signal {
    value: AtomicU32,
    n_sleeping: AtomicU32,
}

impl Signal {
    /// The number. What was written before it was set is visible.
    pub(crate) fn value(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Sets the number back while nobody waits.
    pub(crate) fn reset(&self) {
        self.value.store(0, Ordering::Release);
    }

    /// Adds to the number, which wraps, and wakes who sleeps.
    pub(crate) fn add(&self, n: u32) {
        self.value.fetch_add(n, Ordering::SeqCst);
        self.wake();
    }

    /// Sets bits of the number and wakes who sleeps.
    pub(crate) fn set_bits(&self, bits: u32) {
        self.value.fetch_or(bits, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        // Whoever is about to sleep has counted itself before it looks at the value for the last time, so that either it sees
        // the new value or it is seen here.
        if self.n_sleeping.load(Ordering::SeqCst) > 0 {
            sync::wake_all(&self.value);
        }
    }

    /// Waits until the number is one that `is_done` accepts; sleeps if that takes longer than `patience`. Returns how long it
    /// took, 0 if it took no longer than some reads of the number.
    pub(crate) fn wait_until(&self, patience: Duration, is_done: impl Fn(u32) -> bool) -> Duration {
        let spin = |n_checks| {
            (0..n_checks).any(|_| {
                sync::spin_loop();
                is_done(self.value())
            })
        };
        if is_done(self.value()) || spin(CHECKS_BEFORE_CLOCK) {
            return Duration::ZERO;
        }
        let since = Instant::now();
        while since.elapsed() < patience {
            if spin(CHECKS_PER_LOOK) {
                return since.elapsed();
            }
        }
        self.sleep_until(is_done);
        since.elapsed()
    }

    fn sleep_until(&self, is_done: impl Fn(u32) -> bool) {
        self.n_sleeping.fetch_add(1, Ordering::SeqCst);
        loop {
            let value = self.value.load(Ordering::SeqCst);
            if is_done(value) {
                break;
            }
            sync::wait(&self.value, value);
        }
        self.n_sleeping.fetch_sub(1, Ordering::Relaxed);
    }

    /// Threads that sleep, or are about to.
    #[cfg(test)]
    pub(crate) fn n_sleeping(&self) -> u32 {
        self.n_sleeping.load(Ordering::SeqCst)
    }
}
