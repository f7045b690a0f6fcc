//! What an engine does and has done, in numbers.

use sm_batching::BatchingStats;
use sm_cache::KvCacheStats;

use crate::{KvDiskStats, SpeculationStats};

/// What an engine does and has done, as of the end of its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Requests that run or wait.
    pub live_requests: usize,
    /// Sequences that have slots.
    pub running: usize,
    /// Requests in the queue.
    pub waiting: usize,
    /// Sequences that can have slots, at most; `None` if there is no limit but that of the executor.
    pub max_running: Option<usize>,
    /// Sequences that can have slots now, as far as the batch size adapts.
    pub batch_size: usize,
    /// Counters of the scheduler.
    pub batching: BatchingStats,
    /// Counters of the KV cache.
    pub cache: KvCacheStats,
    /// What guesses of next tokens were worth.
    pub speculation: SpeculationStats,
    /// Counters of the disk tier of the KV cache.
    pub kv_disk: KvDiskStats,
    /// Events that a metrics sink or a cache observer lost because it panicked.
    pub lost_events: u64,
}

impl EngineStats {
    /// Slots that are free; `None` if there is no limit.
    pub fn available_slots(&self) -> Option<usize> {
        Some(self.max_running?.saturating_sub(self.running))
    }

    /// Share of the memory for keys and values that is held, cached pages included, from 0 to 1.
    pub fn memory_usage(&self) -> f64 {
        ratio(self.cache.current_bytes, self.cache.max_bytes)
    }

    /// Sequences per step, on average; 0 before the first.
    pub fn average_batch_size(&self) -> f64 {
        ratio(self.batching.spans, self.batching.steps)
    }

    /// Share of the tokens of batches, each padded to its longest prompt, that would be no padding. Nothing is ever padded: this
    /// is what padding would have cost.
    pub fn padding_efficiency(&self) -> f64 {
        self.batching.padding_efficiency()
    }

    /// Milliseconds that a request waited for its first step, on average; 0 before the first.
    pub fn average_wait_ms(&self) -> f64 {
        ratio(self.batching.waited_us, self.batching.admitted) / 1e3
    }
}

fn ratio(sum: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}
