//! Scheduler counters.

use crate::policy::BatchInfo;
use crate::request::EndReason;

/// Counters since the scheduler was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchingStats {
    /// Steps scheduled.
    pub steps: u64,
    /// Rows in them.
    pub rows: u64,
    /// Spans in them: divided by `steps`, the average batch size.
    pub spans: u64,
    /// Rows of drafts in them.
    pub draft_rows: u64,
    /// Drafts accepted.
    pub accepted_drafts: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Requests admitted, not counting those that resumed.
    pub admitted: u64,
    /// Their total queue time, in µs.
    pub waited_us: u64,
    /// Batches of requests admitted together.
    pub batches: u64,
    /// Tokens of their prompts.
    pub batch_tokens: u64,
    /// The same if each batch were padded to its longest prompt. Nothing is ever padded.
    pub padded_tokens: u64,
    /// Times a request waited a step for another that was computing its prefix.
    pub prefix_waits: u64,
    /// Preemptions.
    pub preempted: u64,
    /// Positions recomputed after preemptions.
    pub recomputed_tokens: u64,
    /// Sequences that ended by themselves.
    pub finished: u64,
    /// Sequences cancelled.
    pub cancelled: u64,
    /// Sequences whose deadline passed.
    pub timed_out: u64,
    /// Sequences that did not fit into the cache.
    pub failed: u64,
    /// Steps that failed and were abandoned.
    pub abandoned_steps: u64,
}

impl BatchingStats {
    /// Fraction of the padded tokens that are real; 1 before the first batch.
    pub fn padding_efficiency(&self) -> f64 {
        if self.padded_tokens == 0 { 1.0 } else { self.batch_tokens as f64 / self.padded_tokens as f64 }
    }

    pub(crate) fn count_batch(&mut self, batch: &BatchInfo) {
        self.batches += 1;
        self.batch_tokens += batch.n_tokens as u64;
        self.padded_tokens += batch.padded_tokens() as u64;
    }

    pub(crate) fn count_end(&mut self, reason: &EndReason) {
        match reason {
            EndReason::Stopped | EndReason::Length => self.finished += 1,
            EndReason::Cancelled => self.cancelled += 1,
            EndReason::TimedOut => self.timed_out += 1,
            EndReason::Cache(_) => self.failed += 1,
        }
    }
}
