//! Engine state that callers read without asking its thread: admission limits and the latest statistics.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use sm_batching::QueueLimit;
use sm_kernels::plan::ExecError;

use super::stats::EngineStats;
use crate::{Error, LimitedResource};

/// Counts requests that have not reached a step, and holds the limits.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Sent to the thread but not yet received.
    pub(super) n_sent: AtomicUsize,
    /// In the scheduler's queue, as of the last step or submission.
    pub(crate) n_waiting: AtomicUsize,
    /// Maximum number of queued requests.
    pub(crate) limit: AtomicUsize,
    /// Maximum number of running sequences.
    pub(crate) max_batch_size: AtomicUsize,
    /// Positions per sequence.
    pub(crate) context_len: AtomicUsize,
    /// Why the thread ended, if it has.
    end: OnceLock<EngineEnd>,
    stats: Mutex<EngineStats>,
}

/// Why an engine ended.
#[derive(Debug)]
pub(crate) enum EngineEnd {
    /// It was shut down.
    ShutDown,
    /// Its device is gone.
    DeviceLost(ExecError),
}

impl EngineEnd {
    /// The error for all outstanding callers.
    pub(crate) fn error(&self) -> Error {
        match self {
            Self::ShutDown => Error::ShutDown,
            Self::DeviceLost(error) => error.clone().into(),
        }
    }
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), ..Self::default() }
    }

    /// Counts one more request as sent.
    ///
    /// # Errors
    /// If the queue is full or the engine has ended.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        if let Some(end) = self.end.get() {
            return Err(end.error());
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let actual = 1 + self.n_sent.fetch_add(1, Ordering::AcqRel) + self.n_waiting.load(Ordering::Acquire);
        if actual <= limit {
            return Ok(());
        }
        self.n_sent.fetch_sub(1, Ordering::Relaxed);
        Err(Error::limit(LimitedResource::Queue(QueueLimit::Requests), limit, actual))
    }

    /// Rejects all requests from now on.
    pub(crate) fn close(&self, end: EngineEnd) {
        // Any later reason is a consequence of the first.
        let _ = self.end.set(end);
    }

    /// The error for a caller that the engine's thread can no longer answer.
    pub(crate) fn end_error(&self) -> Error {
        // A thread that panicked recorded no reason.
        self.end.get().unwrap_or(&EngineEnd::ShutDown).error()
    }

    /// Undoes [`Self::enter`] for a request that was not sent.
    pub(crate) fn leave(&self) {
        self.n_sent.fetch_sub(1, Ordering::Relaxed);
    }

    /// Publishes `stats` to callers. They include `n_taken_in` requests that so far counted as sent.
    pub(crate) fn publish(&self, stats: EngineStats, n_taken_in: usize) {
        // In this order, `enter` may briefly count a request twice but never miss one.
        self.n_waiting.store(stats.waiting, Ordering::Release);
        let mut published = self.lock();
        *published = stats;
        self.n_sent.fetch_sub(n_taken_in, Ordering::AcqRel);
    }

    /// The last published statistics. Requests not yet received by the thread count as waiting.
    pub(crate) fn stats(&self) -> EngineStats {
        let published = self.lock();
        let n_sent = self.n_sent.load(Ordering::Acquire);
        EngineStats {
            live_requests: published.live_requests + n_sent,
            waiting: published.waiting + n_sent,
            ..*published
        }
    }

    /// Nothing panics while holding the lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, EngineStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_and_what_waits_counts() {
        let admission = Admission::new(3);
        admission.n_waiting.store(1, Ordering::Relaxed);
        admission.enter().unwrap();
        admission.enter().unwrap();
        assert!(matches!(admission.enter(), Err(Error::ResourceLimit { limit: 3, actual: 4, .. })));
        admission.leave();
        admission.enter().unwrap();
    }

    #[test]
    fn a_request_counts_once_on_its_way_and_when_it_was_taken_in() {
        let admission = Admission::new(9);
        admission.enter().unwrap();
        assert_eq!((admission.stats().live_requests, admission.stats().waiting), (1, 1));
        admission.publish(EngineStats { live_requests: 1, waiting: 1, ..EngineStats::default() }, 1);
        assert_eq!((admission.stats().live_requests, admission.stats().waiting), (1, 1));
        admission.publish(EngineStats { live_requests: 1, running: 1, ..EngineStats::default() }, 0);
        assert_eq!((admission.stats().live_requests, admission.stats().waiting), (1, 0));
    }
}
