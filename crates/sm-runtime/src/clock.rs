//! The clock that deadlines are measured by.

#[cfg(test)]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

/// The machine's clock, or in tests, one that stands still until it is moved.
#[derive(Clone, Debug, Default)]
pub(crate) enum Clock {
    #[default]
    Machine,
    #[cfg(test)]
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn now(&self) -> Instant {
        match self {
            Self::Machine => Instant::now(),
            #[cfg(test)]
            Self::Manual(clock) => clock.now(),
        }
    }

    /// How long a thread may sleep if it is to act in `wait`: nothing tells it that a manual clock was moved.
    pub(crate) fn sleep_time(&self, wait: Duration) -> Duration {
        match self {
            Self::Machine => wait,
            #[cfg(test)]
            Self::Manual(_) => wait.min(Duration::from_millis(1)),
        }
    }
}

/// A clock that a test moves.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct ManualClock {
    began: Instant,
    moved_ms: Arc<AtomicU64>,
}

#[cfg(test)]
impl ManualClock {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), moved_ms: Arc::default() }
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.elapsed_ms())
    }

    /// By how much it was moved.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.moved_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn advance_ms(&self, n: u64) {
        self.moved_ms.fetch_add(n, Ordering::Relaxed);
    }
}
