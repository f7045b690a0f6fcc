//! Refuses at once what would not fit into the queue, without asking the engine's thread.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Error;

/// Counts requests on their way to a step.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Sent to the thread, and not yet taken in.
    pub(crate) n_sent: AtomicUsize,
    /// In the scheduler's queue, as of its last step.
    pub(crate) n_waiting: AtomicUsize,
    pub(crate) limit: AtomicUsize,
}

impl Gate {
    pub(crate) fn new(limit: usize) -> Self {
        Self { n_sent: AtomicUsize::new(0), n_waiting: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    /// Counts one more request.
    ///
    /// # Errors
    /// If the queue is full.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        let limit = self.limit.load(Ordering::Relaxed);
        let actual = 1 + self.n_sent.fetch_add(1, Ordering::Relaxed) + self.n_waiting.load(Ordering::Relaxed);
        if actual <= limit {
            return Ok(());
        }
        self.n_sent.fetch_sub(1, Ordering::Relaxed);
        let remedy = "retry later or raise the limit";
        Err(Error::ResourceLimit { resource: "max_queued_requests", limit, actual, remedy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_and_what_waits_counts() {
        let gate = Gate::new(3);
        gate.n_waiting.store(1, Ordering::Relaxed);
        gate.enter().unwrap();
        gate.enter().unwrap();
        assert!(matches!(gate.enter(), Err(Error::ResourceLimit { limit: 3, actual: 4, .. })));
        gate.n_sent.fetch_sub(1, Ordering::Relaxed);
        gate.enter().unwrap();
    }
}
