//! Static batches in queue order, regardless of length: `padded tokens ≤ max_total_tokens`.
//!
//! The baseline for the other policies.

use super::{BatchInfo, BatchPolicy, RequestShape, check_tokens, take_while};
use crate::error::BatchingError;

/// Takes requests in queue order, regardless of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naive {
    /// Maximum number of prompt tokens in a batch, counted as if padded to the longest.
    pub max_total_tokens: usize,
}

impl BatchPolicy for Naive {
    fn select(&self, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>) {
        let fits = |batch: &BatchInfo| batch.padded_tokens() <= self.max_total_tokens;
        take_while(waiting.iter().copied().enumerate(), n_slots, fits, chosen);
    }

    fn check(&self, request: &RequestShape) -> Result<(), BatchingError> {
        check_tokens(request, self.max_total_tokens)
    }
}
