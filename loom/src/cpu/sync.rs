//! Loom's primitives under the names that the crate uses, and a futex made of them.

use std::time::Duration;

use loom::sync::atomic::{self, fence};
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use loom::sync::{Condvar, LockResult};
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Nobody spins in a model: it would only be the same state again.
pub(crate) const CHECKS_BEFORE_CLOCK: u32 = 0;

pub(crate) fn spin_loop() {}

/// A clock by which every patience is over.
#[derive(Clone, Copy)]
pub(crate) struct Instant;

impl Instant {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::from_secs(1)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    unpoisoned(mutex.lock())
}

fn unpoisoned<T>(locked: LockResult<T>) -> T {
    locked.unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A number that threads can sleep on, as the kernel lets them.
///
/// Loom takes sequentially consistent accesses for acquire and release, which would allow what C++ and Rust forbid. Fences it
/// does take for what they are.
#[derive(Debug, Default)]
pub(crate) struct AtomicU32 {
    value: atomic::AtomicU32,
    queue: Mutex<()>,
    woken: Condvar,
}

impl AtomicU32 {
    fn ordered<T>(&self, ordering: Ordering, access: impl FnOnce(&atomic::AtomicU32) -> T) -> T {
        if ordering != Ordering::SeqCst {
            return access(&self.value);
        }
        fence(Ordering::SeqCst);
        let result = access(&self.value);
        fence(Ordering::SeqCst);
        result
    }

    pub(crate) fn load(&self, ordering: Ordering) -> u32 {
        self.ordered(ordering, |value| value.load(ordering))
    }

    pub(crate) fn store(&self, new: u32, ordering: Ordering) {
        self.ordered(ordering, |value| value.store(new, ordering));
    }

    pub(crate) fn fetch_add(&self, n: u32, ordering: Ordering) -> u32 {
        self.ordered(ordering, |value| value.fetch_add(n, ordering))
    }

    pub(crate) fn fetch_sub(&self, n: u32, ordering: Ordering) -> u32 {
        self.ordered(ordering, |value| value.fetch_sub(n, ordering))
    }

    pub(crate) fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
        self.ordered(ordering, |value| value.fetch_or(bits, ordering))
    }
}

/// Sleeps until somebody wakes who sleeps on `number`, unless it is not `expected` any more.
pub(crate) fn wait(number: &AtomicU32, expected: u32) {
    let queue = lock(&number.queue);
    if number.load(Ordering::SeqCst) == expected {
        drop(unpoisoned(number.woken.wait(queue)));
    }
}

/// Wakes all who sleep on `number`.
pub(crate) fn wake_all(number: &AtomicU32) {
    let _queue = lock(&number.queue);
    number.woken.notify_all();
}
