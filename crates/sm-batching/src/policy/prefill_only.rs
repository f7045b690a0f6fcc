//! Prompts share steps, decoding does not.

use super::{BatchPolicy, Joining, Waiting};
use crate::error::BatchingError;

/// Another policy, but sequences decode one at a time.
#[derive(Debug)]
pub struct PrefillOnly(
    /// The policy that chooses the prompts.
    pub Box<dyn BatchPolicy>,
);

impl BatchPolicy for PrefillOnly {
    fn select(&self, waiting: &[Waiting], n_slots: usize, chosen: &mut Vec<usize>) {
        self.0.select(waiting, n_slots, chosen);
    }

    fn check(&self, request: &Waiting) -> Result<(), BatchingError> {
        self.0.check(request)
    }

    fn joining(&self) -> Joining {
        self.0.joining()
    }

    fn max_decoding(&self) -> usize {
        1
    }
}
