//! Continuous batching: free slots are filled at every step, in the order of the queue.
//!
//! Iteration-level scheduling of [Orca](https://www.usenix.org/conference/osdi22/presentation/yu) (Yu et al., OSDI 2022). A
//! sequence that ends leaves its slot at once, and a request that arrives waits for a slot, not for a batch:
//!
//! ```text
//! slot 1   A A A A A D D D          A has 5 tokens, B 2, C 6; D takes A's slot, E takes B's
//! slot 2   B B E E E E E E
//! slot 3   C C C C C C F F
//!          steps ───────►
//! ```
//!
//! There is no limit of tokens or memory here: pages are checked when a request is admitted, and rows when a step is made.

use super::{AdmitAt, BatchPolicy, RequestShape, take_while};

/// Fills free slots at every step, in the order of the queue.
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
