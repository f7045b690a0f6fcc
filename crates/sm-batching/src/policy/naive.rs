//! Static batches of the first requests in the queue: `padded tokens ≤ max_total_tokens`, whatever their lengths.
//!
//! The baseline that the other policies are measured against.

use super::{BatchInfo, BatchPolicy, RequestShape, check_tokens, take_while};
use crate::error::BatchingError;

/// Takes the first requests, whatever their lengths.
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
