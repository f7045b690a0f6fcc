//! Whoever is first joins at the next step.

use super::{BatchPolicy, Joining, Waiting, take_while};

/// Fills free slots at every step, in the order of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuous;

impl BatchPolicy for Continuous {
    fn select(&self, waiting: &[Waiting], n_slots: usize, chosen: &mut Vec<usize>) {
        take_while(waiting.iter().copied().enumerate(), n_slots, |_| true, chosen);
    }

    fn joining(&self) -> Joining {
        Joining::AnyStep
    }
}
