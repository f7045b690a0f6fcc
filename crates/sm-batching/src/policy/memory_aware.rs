//! Static batches as large as a memory limit allows:
//!
//! ```text
//! fixed_bytes + n_sequences · longest max_len · bytes_per_token ≤ memory_limit_bytes
//! ```
//!
//! The estimate assumes that every sequence reaches the maximum length of the longest, so a batch stays within the limit to
//! the end without preemption. Continuous batching needs no such worst case, since it preempts.

use super::{BatchInfo, BatchPolicy, RequestShape, check_limit, check_tokens, take_while};
use crate::error::{BatchingError, QueueLimit};

/// Memory model of a batch: `fixed_bytes + n_sequences · len · bytes_per_token`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchMemory {
    /// Bytes that do not depend on the batch.
    pub fixed_bytes: u64,
    /// Bytes of one position of one sequence.
    pub bytes_per_token: u64,
}

impl BatchMemory {
    /// Bytes of a batch of `n_sequences` of at most `len` tokens.
    pub fn estimate(&self, n_sequences: usize, len: usize) -> u64 {
        let positions = (n_sequences as u64).saturating_mul(len as u64);
        self.fixed_bytes.saturating_add(positions.saturating_mul(self.bytes_per_token))
    }
}

/// Takes requests in order while the batch, including everything it may generate, stays within a memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAware {
    /// Maximum number of prompt tokens in a batch, counted as if padded to the longest.
    pub max_total_tokens: usize,
    /// Maximum bytes of a batch.
    pub memory_limit_bytes: u64,
    /// Estimates a batch's bytes.
    pub memory: BatchMemory,
}

impl MemoryAware {
    fn bytes(&self, batch: &BatchInfo) -> u64 {
        self.memory.estimate(batch.n_sequences, batch.max_positions)
    }
}

impl BatchPolicy for MemoryAware {
    fn select(&self, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>) {
        let fits = |batch: &BatchInfo| {
            batch.padded_tokens() <= self.max_total_tokens && self.bytes(batch) <= self.memory_limit_bytes
        };
        take_while(waiting.iter().copied().enumerate(), n_slots, fits, chosen);
    }

    fn check(&self, request: &RequestShape) -> Result<(), BatchingError> {
        check_tokens(request, self.max_total_tokens)?;
        check_limit(QueueLimit::BatchBytes, self.bytes(&BatchInfo::of([*request])), self.memory_limit_bytes)
    }
}
