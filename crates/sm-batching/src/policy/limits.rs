//! How large a batch may become.
//!
//! ```text
//! static batches       n_sequences · longest prompt ≤ max_total_tokens
//!                      fixed_bytes + n_sequences · longest max_len · bytes_per_token ≤ memory_limit_bytes
//! continuous batches   Σ prompt ≤ max_total_tokens
//!                      fixed_bytes + Σ max_len · bytes_per_token ≤ memory_limit_bytes
//! ```
//!
//! A static batch is counted as if padded, as in the engines to which it is compared. Memory is that of everything the
//! sequences may generate, so a batch stays within its limit to the end without preemption. Without a limit, continuous
//! batching needs no such worst case: it admits what fits now, and preempts.

use super::{BatchInfo, RequestShape};
use crate::error::{BatchingError, QueueLimit};

/// Memory model of a batch: `fixed_bytes + n_positions · bytes_per_token`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchMemory {
    /// Bytes that do not depend on the batch.
    pub fixed_bytes: u64,
    /// Bytes of one position of one sequence.
    pub bytes_per_token: u64,
}

impl BatchMemory {
    /// Bytes of `n_positions`, of all sequences together.
    pub fn estimate(&self, n_positions: usize) -> u64 {
        self.fixed_bytes.saturating_add((n_positions as u64).saturating_mul(self.bytes_per_token))
    }
}

/// Limits of a batch. By default there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchLimits {
    /// Maximum number of prompt tokens.
    pub max_total_tokens: usize,
    /// Maximum bytes, including everything that the sequences may generate.
    pub memory_limit_bytes: u64,
    /// Estimates a batch's bytes.
    pub memory: BatchMemory,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { max_total_tokens: usize::MAX, memory_limit_bytes: u64::MAX, memory: BatchMemory::default() }
    }
}

/// How the tokens of a batch are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// As if all sequences were padded to the longest.
    Padded,
    /// As they are.
    Real,
}

impl BatchLimits {
    /// At most `max_total_tokens` prompt tokens.
    pub fn tokens(max_total_tokens: usize) -> Self {
        Self { max_total_tokens, ..Self::default() }
    }

    /// At most `memory_limit_bytes`, as estimated by `memory`.
    #[must_use]
    pub fn bytes(self, memory_limit_bytes: u64, memory: BatchMemory) -> Self {
        Self { memory_limit_bytes, memory, ..self }
    }

    /// Checks a batch.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub(super) fn check(&self, batch: &BatchInfo, count: Count) -> Result<(), BatchingError> {
        let (n_tokens, n_positions) = match count {
            Count::Padded => (batch.padded_tokens(), batch.n_sequences.saturating_mul(batch.max_positions)),
            Count::Real => (batch.n_tokens, batch.n_positions),
        };
        check_limit(QueueLimit::BatchTokens, n_tokens as u64, self.max_total_tokens as u64)?;
        check_limit(QueueLimit::BatchBytes, self.memory.estimate(n_positions), self.memory_limit_bytes)
    }

    /// Checks a request alone.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub(super) fn check_alone(&self, request: &RequestShape, count: Count) -> Result<(), BatchingError> {
        self.check(&BatchInfo::of([*request]), count)
    }
}

fn check_limit(resource: QueueLimit, actual: u64, limit: u64) -> Result<(), BatchingError> {
    if actual <= limit { Ok(()) } else { Err(BatchingError::ResourceLimit { resource, limit, actual }) }
}
