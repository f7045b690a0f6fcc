//! As many requests as tokens and memory allow.

use super::{BatchInfo, BatchPolicy, Waiting, check_tokens, take_while, within};
use crate::config::BatchMemory;
use crate::error::{BatchingError, QueueLimit};

/// Takes requests in order while the batch's memory, with all that it may generate, and its tokens stay within their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAware {
    /// Tokens of a batch, counted as if padded.
    pub max_total_tokens: usize,
    /// Bytes of a batch.
    pub memory_limit_bytes: u64,
    /// How bytes are estimated.
    pub memory: BatchMemory,
}

impl MemoryAware {
    fn bytes(&self, batch: &BatchInfo) -> u64 {
        self.memory.estimate(batch.n_sequences, batch.max_positions)
    }
}

impl BatchPolicy for MemoryAware {
    fn select(&self, waiting: &[Waiting], n_slots: usize, chosen: &mut Vec<usize>) {
        let fits = |batch: &BatchInfo| {
            batch.padded_tokens() <= self.max_total_tokens && self.bytes(batch) <= self.memory_limit_bytes
        };
        take_while(waiting.iter().copied().enumerate(), n_slots, fits, chosen);
    }

    fn check(&self, request: &Waiting) -> Result<(), BatchingError> {
        check_tokens(request, self.max_total_tokens)?;
        within(QueueLimit::BatchBytes, self.bytes(&BatchInfo::of([*request])), self.memory_limit_bytes)
    }
}
