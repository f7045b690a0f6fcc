//! Static batches in queue order, regardless of length.
//!
//! The baseline for the other policies. With a memory limit it is [`BatchingStrategy::MemoryAware`].
//!
//! [`BatchingStrategy::MemoryAware`]: crate::BatchingStrategy::MemoryAware

use super::{BatchInfo, BatchLimits, BatchPolicy, Count, RequestShape, take_while};
use crate::error::BatchingError;

/// Takes requests in queue order, regardless of length, while the batch stays within its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Naive {
    /// Limits of a batch, counted as if padded.
    pub limits: BatchLimits,
}

impl BatchPolicy for Naive {
    fn select(&self, running: &BatchInfo, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>) {
        let fits = |batch: &BatchInfo| self.limits.check(batch, Count::Padded).is_ok();
        take_while(running, waiting.iter().copied().enumerate(), n_slots, fits, chosen);
    }

    fn check(&self, request: &RequestShape) -> Result<(), BatchingError> {
        self.limits.check_alone(request, Count::Padded)
    }
}
