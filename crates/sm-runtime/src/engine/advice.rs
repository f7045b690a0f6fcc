//! Collects batch records for tuning recommendations.

use sm_batching::{BatchAdvisor, BatchRecord, BatchingStats, Recommendations, Scheduler};

/// Records an engine's batches. A batch is the set of requests admitted together; it runs until the next is formed.
#[derive(Debug)]
pub(crate) struct Advice {
    advisor: BatchAdvisor,
    current: Option<BatchRecord>,
    /// Statistics when the current batch was formed.
    seen: BatchingStats,
}

impl Advice {
    pub(super) fn new(max_batch_size: usize) -> Self {
        Self { advisor: BatchAdvisor::new(max_batch_size), current: None, seen: BatchingStats::default() }
    }

    /// Records a step.
    pub(super) fn observe(&mut self, scheduler: &Scheduler, step_us: u64) {
        let stats = scheduler.stats();
        if stats.batches != self.seen.batches {
            if let Some(batch) = self.current.take() {
                self.advisor.record(&batch);
            }
            let waited_us = stats.waited_us - self.seen.waited_us;
            self.current = Some(BatchRecord {
                strategy: scheduler.config().strategy,
                info: scheduler.last_batch(),
                wait_us: waited_us.checked_div(stats.admitted - self.seen.admitted).unwrap_or(0),
                run_us: 0,
            });
            self.seen = stats;
        }
        if let Some(batch) = &mut self.current {
            batch.run_us += step_us;
        }
    }

    /// Sets the new maximum batch size.
    pub(super) fn resize(&mut self, max_batch_size: usize) {
        self.advisor.set_max_batch_size(max_batch_size);
    }

    /// Recommendations from all batches so far, including the running one.
    pub(super) fn recommendations(&self) -> Recommendations {
        let mut advisor = self.advisor.clone();
        if let Some(batch) = &self.current {
            advisor.record(batch);
        }
        advisor.recommendations()
    }
}
