//! The first requests of the queue.

use super::{BatchPolicy, Waiting, check_tokens, take_while};
use crate::error::BatchingError;

/// Takes the first requests, whatever their lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naive {
    /// Tokens of a batch, counted as if padded.
    pub max_total_tokens: usize,
}

impl BatchPolicy for Naive {
    fn select(&self, waiting: &[Waiting], n_slots: usize, chosen: &mut Vec<usize>) {
        let fits = |batch: &super::BatchInfo| batch.padded_tokens() <= self.max_total_tokens;
        take_while(waiting.iter().copied().enumerate(), n_slots, fits, chosen);
    }

    fn check(&self, request: &Waiting) -> Result<(), BatchingError> {
        check_tokens(request, self.max_total_tokens)
    }
}
