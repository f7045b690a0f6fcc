//! Continuous batching: fills free slots at every step, in queue order.
//!
//! Iteration-level scheduling as in [Orca](https://www.usenix.org/conference/osdi22/presentation/yu) (Yu et al., OSDI
//! 2022). A finished sequence frees its slot immediately, and a new request waits for a slot, not for a batch:
//!
//! ```text
//! slot 1   A A A A A D D D          A has 5 tokens, B 2, C 6; D takes A's slot, E takes B's
//! slot 2   B B E E E E E E
//! slot 3   C C C C C C F F
//!          steps ───────►
//! ```
//!
//! By default no token or memory limit applies here: pages are checked on admission, and rows when a step is built. Limits
//! count what runs already.

use super::{AdmitAt, BatchInfo, BatchLimits, BatchPolicy, Count, RequestShape, take_while};
use crate::error::BatchingError;

/// Fills free slots at every step, in queue order, while what runs stays within its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continuous {
    /// Limits of what runs at a time, counted without padding.
    pub limits: BatchLimits,
}

impl BatchPolicy for Continuous {
    fn select(&self, running: &BatchInfo, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>) {
        let fits = |batch: &BatchInfo| self.limits.check(batch, Count::Real).is_ok();
        take_while(running, waiting.iter().copied().enumerate(), n_slots, fits, chosen);
    }

    fn check(&self, request: &RequestShape) -> Result<(), BatchingError> {
        self.limits.check_alone(request, Count::Real)
    }

    fn admit_at(&self) -> AdmitAt {
        AdmitAt::EveryStep
    }
}
