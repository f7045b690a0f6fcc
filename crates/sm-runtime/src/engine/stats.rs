//! Engine statistics.

use sm_batching::BatchingStats;
use sm_cache::KvCacheStats;

use crate::{KvDiskStats, SpeculationStats};

/// Statistics of an engine, as of the end of its last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Running and queued requests.
    pub live_requests: usize,
    /// Running sequences (occupied slots).
    pub running: usize,
    /// Queued requests.
    pub waiting: usize,
    /// Maximum number of running sequences; `None` if only the executor limits it.
    pub max_running: Option<usize>,
    /// Current slot limit, if the batch size adapts.
    pub batch_size: usize,
    /// Scheduler counters.
    pub batching: BatchingStats,
    /// KV cache counters.
    pub cache: KvCacheStats,
    /// Speculative decoding counters.
    pub speculation: SpeculationStats,
    /// Counters of the KV cache's disk tier.
    pub kv_disk: KvDiskStats,
    /// Events lost because a metrics sink or cache observer panicked.
    pub lost_events: u64,
}

impl EngineStats {
    /// Free slots; `None` if there is no limit.
    pub fn available_slots(&self) -> Option<usize> {
        Some(self.max_running?.saturating_sub(self.running))
    }

    /// Fraction of KV cache memory in use, cached pages included, from 0 to 1.
    pub fn memory_usage(&self) -> f64 {
        ratio(self.cache.current_bytes, self.cache.max_bytes)
    }

    /// Mean number of sequences per step; 0 before the first.
    pub fn average_batch_size(&self) -> f64 {
        ratio(self.batching.spans, self.batching.steps)
    }

    /// Fraction of real tokens if every batch were padded to its longest prompt. Nothing is ever padded: this is what
    /// padding would have cost.
    pub fn padding_efficiency(&self) -> f64 {
        self.batching.padding_efficiency()
    }

    /// Mean milliseconds a request waited for its first step; 0 before the first.
    pub fn average_wait_ms(&self) -> f64 {
        ratio(self.batching.waited_us, self.batching.admitted) / 1e3
    }
}

fn ratio(sum: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}
