//! Batched prefill, unbatched decode: prompts share steps, and each sequence decodes in steps of its own.
//!
//! For measurements of what batched decoding gains. Steps are either prefill or decode; the sequences take turns to decode.

use super::{AdmitAt, BatchPolicy, RequestShape};
use crate::error::BatchingError;

/// Another policy, except that sequences decode one at a time.
#[derive(Debug)]
pub struct PrefillOnly(
    /// The policy that chooses requests.
    pub Box<dyn BatchPolicy>,
);

impl BatchPolicy for PrefillOnly {
    fn select(&self, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>) {
        self.0.select(waiting, n_slots, chosen);
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
