//! Guards against panics of callers' code on the engine's thread: a panic loses that event and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sm_cache::{CacheEvent, CacheObserver};

use crate::{MetricsSink, RequestMetrics, StepMetrics};

/// Counts events lost to panics. Clones share the counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct LostEvents(Arc<AtomicU64>);

impl LostEvents {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Delivers an event. Any panic has been reported by the panic hook when this returns.
    fn deliver(&self, event: impl FnOnce()) {
        // A receiver left in an inconsistent state is its own problem: it is called again with the next event.
        if catch_unwind(AssertUnwindSafe(event)).is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A metrics sink that may panic.
#[derive(Debug)]
pub(crate) struct GuardedSink {
    sink: Arc<dyn MetricsSink>,
    lost: LostEvents,
}

impl GuardedSink {
    pub(crate) fn new(sink: Arc<dyn MetricsSink>, lost: LostEvents) -> Self {
        Self { sink, lost }
    }

    pub(crate) fn step(&self, step: &StepMetrics) {
        self.lost.deliver(|| self.sink.step(step));
    }

    pub(crate) fn request(&self, request: &RequestMetrics) {
        self.lost.deliver(|| self.sink.request(request));
    }
}

/// A cache observer that may panic.
#[derive(Debug)]
pub(crate) struct GuardedObserver {
    observer: Box<dyn CacheObserver>,
    lost: LostEvents,
}

impl GuardedObserver {
    pub(crate) fn new(observer: Box<dyn CacheObserver>, lost: LostEvents) -> Self {
        Self { observer, lost }
    }
}

impl CacheObserver for GuardedObserver {
    fn on_event(&mut self, event: &CacheEvent<'_>) {
        self.lost.deliver(|| self.observer.on_event(event));
    }
}
