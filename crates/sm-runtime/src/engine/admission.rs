//! What callers know of an engine without asking its thread: to refuse at once what cannot be.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sm_batching::QueueLimit;

use crate::{Error, LimitedResource};

/// Counts requests on their way to a step, and knows the limits.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Sent to the thread, and not yet taken in.
    pub(crate) n_sent: AtomicUsize,
    /// In the scheduler's queue, as of its last step or submission.
    pub(crate) n_waiting: AtomicUsize,
    /// Requests in the queue at most.
    pub(crate) limit: AtomicUsize,
    /// Sequences that can run at a time.
    pub(crate) max_batch_size: AtomicUsize,
    /// Positions per sequence.
    pub(crate) context_len: AtomicUsize,
    /// Whether the thread has ended.
    pub(crate) is_closed: AtomicBool,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), ..Self::default() }
    }

    /// Counts one more request.
    ///
    /// # Errors
    /// If the queue is full; [`Error::ShutDown`].
    pub(crate) fn enter(&self) -> Result<(), Error> {
        if self.is_closed.load(Ordering::Relaxed) {
            return Err(Error::ShutDown);
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let actual = 1 + self.n_sent.fetch_add(1, Ordering::AcqRel) + self.n_waiting.load(Ordering::Acquire);
        if actual <= limit {
            return Ok(());
        }
        self.n_sent.fetch_sub(1, Ordering::Relaxed);
        Err(Error::limit(LimitedResource::Queue(QueueLimit::Requests), limit, actual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_and_what_waits_counts() {
        let gate = Admission::new(3);
        gate.n_waiting.store(1, Ordering::Relaxed);
        gate.enter().unwrap();
        gate.enter().unwrap();
        assert!(matches!(gate.enter(), Err(Error::ResourceLimit { limit: 3, actual: 4, .. })));
        gate.n_sent.fetch_sub(1, Ordering::Relaxed);
        gate.enter().unwrap();
    }
}
