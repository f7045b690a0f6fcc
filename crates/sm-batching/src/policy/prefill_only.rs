//! Batched prefill, unbatched decode: prompts share steps, and sequences decode one per step.
//!
//! For measuring the benefit of batched decoding. Steps are either prefill or decode; sequences take turns decoding.

use super::{AdmitAt, BatchInfo, BatchPolicy, RequestShape};
use crate::error::BatchingError;

/// Wraps a policy so that sequences decode one at a time.
#[derive(Debug)]
pub struct PrefillOnly(
    /// The policy that chooses requests.
    pub Box<dyn BatchPolicy>,
);

impl BatchPolicy for PrefillOnly {
    fn select(&self, running: &BatchInfo, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>) {
        self.0.select(running, waiting, n_slots, chosen);
    }

    fn check(&self, request: &RequestShape) -> Result<(), BatchingError> {
        self.0.check(request)
    }

    fn admit_at(&self) -> AdmitAt {
        self.0.admit_at()
    }

    fn max_decoding(&self) -> usize {
        1
    }
}
