//! What threads synchronise with. Barrier, team and claims name no other primitive, so that the models of `loom/` can compile
//! the same files with loom's in their place and try every order of their steps.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
pub(crate) use std::time::Instant;

pub(crate) use atomic_wait::{wait, wake_all};

/// Checks of a signal before the clock is read for the first time: most waits are over by then.
pub(crate) const CHECKS_BEFORE_CLOCK: u32 = 32;

/// Tells the processor that this thread spins.
pub(crate) fn spin_loop() {
    std::hint::spin_loop();
}

/// Locks a mutex whose data is valid at any time, whoever panicked with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
