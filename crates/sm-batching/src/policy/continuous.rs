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
//! No token or memory limit applies here: pages are checked on admission, and rows when a step is built.

use super::{AdmitAt, BatchPolicy, RequestShape, take_while};

/// Fills free slots at every step, in queue order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuous;

impl BatchPolicy for Continuous {
    fn select(&self, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>) {
        take_while(waiting.iter().copied().enumerate(), n_slots, |_| true, chosen);
    }

    fn admit_at(&self) -> AdmitAt {
        AdmitAt::EveryStep
    }
}
