//! Which waiting requests form a batch.
//!
//! A policy sees lengths only. Requests run without padding whatever it decides; [`BatchInfo`] tells what padding would
//! have cost.

use std::fmt;

use crate::error::{BatchingError, QueueLimit};

mod bucketed;
mod continuous;
mod memory_aware;
mod naive;
mod prefill_only;

pub use bucketed::{Bucketed, Bucketer};
pub use continuous::Continuous;
pub use memory_aware::MemoryAware;
pub use naive::Naive;
pub use prefill_only::PrefillOnly;

/// What a policy knows of a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Tokens of the prompt.
    pub len: usize,
    /// Positions that each of its sequences comes to have, at most.
    pub max_len: usize,
    /// Sequences that the request becomes.
    pub n_choices: usize,
}

/// Whether requests join a batch that runs already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// At every step, as slots become free.
    AnyStep,
    /// Never: the next batch begins when all have ended.
    WhenIdle,
}

/// Which waiting requests form a batch.
pub trait BatchPolicy: fmt::Debug + Send {
    /// Puts into `chosen` the indices of those of `waiting`, `[n_waiting]` in the order in which they should be served,
    /// that form a batch of at most `n_slots` sequences. Chooses at least one if the first fits the slots.
    fn select(&self, waiting: &[Waiting], n_slots: usize, chosen: &mut Vec<usize>);

    /// Whether a request can be in a batch at all.
    ///
    /// # Errors
    /// The limit that it exceeds alone.
    fn check(&self, _request: &Waiting) -> Result<(), BatchingError> {
        Ok(())
    }

    /// Whether requests join a batch that runs.
    fn joining(&self) -> Joining {
        Joining::WhenIdle
    }

    /// Sequences that may decode in one step.
    fn max_decoding(&self) -> usize {
        usize::MAX
    }
}

/// A batch as it was formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchInfo {
    /// Sequences.
    pub n_sequences: usize,
    /// Tokens of the longest prompt.
    pub max_len: usize,
    /// Positions that the longest comes to have, at most.
    pub max_positions: usize,
    /// Tokens in total.
    pub n_tokens: usize,
}

impl BatchInfo {
    /// A batch of requests.
    pub fn of(batch: impl IntoIterator<Item = Waiting>) -> Self {
        let mut info = Self::default();
        for request in batch {
            info.add(&request);
        }
        info
    }

    /// One more request.
    pub fn add(&mut self, request: &Waiting) {
        self.n_sequences += request.n_choices;
        self.max_len = self.max_len.max(request.len);
        self.max_positions = self.max_positions.max(request.max_len);
        self.n_tokens += request.len * request.n_choices;
    }

    /// Tokens if all were padded to the longest.
    pub fn padded_tokens(&self) -> usize {
        self.n_sequences.saturating_mul(self.max_len)
    }

    /// Share of the padded tokens that are no padding, in percent.
    pub fn padding_efficiency_percent(&self) -> usize {
        (self.n_tokens * 100).checked_div(self.padded_tokens()).unwrap_or(100)
    }
}

/// Whether a batch fits `max_total_tokens`, padded.
fn check_tokens(request: &Waiting, max_total_tokens: usize) -> Result<(), BatchingError> {
    within(QueueLimit::BatchTokens, BatchInfo::of([*request]).padded_tokens() as u64, max_total_tokens as u64)
}

fn within(resource: QueueLimit, actual: u64, limit: u64) -> Result<(), BatchingError> {
    if actual <= limit { Ok(()) } else { Err(BatchingError::ResourceLimit { resource, limit, actual }) }
}

/// Takes requests in order while the batch `fits` and has slots; ends at the first that does not.
fn take_while(
    waiting: impl IntoIterator<Item = (usize, Waiting)>,
    n_slots: usize,
    fits: impl Fn(&BatchInfo) -> bool,
    chosen: &mut Vec<usize>,
) -> BatchInfo {
    let mut batch = BatchInfo::default();
    for (index, request) in waiting {
        let mut larger = batch;
        larger.add(&request);
        if larger.n_sequences > n_slots || !fits(&larger) {
            break;
        }
        batch = larger;
        chosen.push(index);
    }
    batch
}

#[cfg(test)]
mod tests;
