//! What the batches that ran say about the settings.

use sm_batching::{BatchAdvisor, BatchRecord, BatchingStats, Recommendations, Scheduler};

/// Records the batches of an engine. A batch is those who were admitted together, and runs until the next is formed.
#[derive(Debug)]
pub(crate) struct Advice {
    advisor: BatchAdvisor,
    current: Option<BatchRecord>,
    /// When the current batch was formed.
    seen: BatchingStats,
}

impl Advice {
    pub(super) fn new(max_batch_size: usize) -> Self {
        Self { advisor: BatchAdvisor::new(max_batch_size), current: None, seen: BatchingStats::default() }
    }

    /// After a step.
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

    /// Batches may have as many sequences now.
    pub(super) fn resize(&mut self, max_batch_size: usize) {
        self.advisor.set_max_batch_size(max_batch_size);
    }

    /// What the batches say so far, the one that runs included.
    pub(super) fn recommendations(&self) -> Recommendations {
        let mut advisor = self.advisor.clone();
        if let Some(batch) = &self.current {
            advisor.record(batch);
        }
        advisor.recommendations()
    }
}
