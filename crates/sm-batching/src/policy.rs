//! Batch policies: which queued requests form a batch.
//!
//! A policy only sees lengths, and decides when requests are admitted, not how they are computed: nothing is ever padded.
//! [`BatchInfo`] reports what padding would have cost, for comparison with engines that pad.
//!
//! | policy | takes | when |
//! |---|---|---|
//! | [`Continuous`] | the first in the queue | at every step |
//! | [`Naive`] | the first in the queue | when the last batch has ended |
//! | [`Bucketed`] | those of similar length | when the last batch has ended |
//! | [`PrefillOnly`] | as its inner policy; decodes one sequence at a time | as its inner policy |
//!
//! Each keeps a batch within its [`BatchLimits`].
//!
//! Continuous batching is the default, and better in nearly every respect: a static batch runs steps with ever fewer rows
//! until its longest sequence ends, while others wait. Static policies are for fixed jobs and measurements.
//!
//! # Example
//!
//! ```
//! use sm_batching::{BatchInfo, BatchLimits, BatchPolicy, Bucketed, RequestShape};
//!
//! let shape = |prompt_len| RequestShape { prompt_len, max_len: prompt_len + 20, n_choices: 1 };
//! let waiting = [shape(130), shape(1), shape(140), shape(128)];
//! let mut chosen = Vec::new();
//! let policy = Bucketed::new(128, BatchLimits::tokens(300));
//! policy.select(&BatchInfo::default(), &waiting, 8, &mut chosen);
//! assert_eq!(chosen, [0, 2]); // both in the bucket 129 to 256; a third, padded to 140, would exceed 300 tokens
//! ```

use std::fmt;

use crate::error::BatchingError;

mod bucketed;
mod continuous;
mod limits;
mod naive;
mod prefill_only;

pub use bucketed::{Bucketed, Bucketer};
pub use continuous::Continuous;
use limits::Count;
pub use limits::{BatchLimits, BatchMemory};
pub use naive::Naive;
pub use prefill_only::PrefillOnly;

/// A request as seen by a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestShape {
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Maximum number of positions per sequence.
    pub max_len: usize,
    /// Number of choices, each of which becomes a sequence.
    pub n_choices: usize,
}

/// When requests are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmitAt {
    /// At every step, as slots become free (continuous batching).
    EveryStep,
    /// When all sequences of the last batch have ended (static batching).
    Idle,
}

/// Decides which queued requests form a batch.
pub trait BatchPolicy: fmt::Debug + Send {
    /// Appends to `chosen` the indices of the requests in `waiting`, `[n_waiting]` in service order, that join the `running`
    /// batch with at most `n_slots` sequences. Must choose at least one if the first fits.
    fn select(&self, running: &BatchInfo, waiting: &[RequestShape], n_slots: usize, chosen: &mut Vec<usize>);

    /// Checks that a request fits into a batch at all.
    ///
    /// # Errors
    /// The limit it exceeds even alone.
    fn check(&self, _request: &RequestShape) -> Result<(), BatchingError> {
        Ok(())
    }

    /// When requests are admitted.
    fn admit_at(&self) -> AdmitAt {
        AdmitAt::Idle
    }

    /// Maximum number of decoding sequences per step. Any limit also keeps decoding out of prefill steps.
    fn max_decoding(&self) -> usize {
        usize::MAX
    }
}

/// The size of a batch on formation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchInfo {
    /// Number of sequences.
    pub n_sequences: usize,
    /// Tokens of the longest prompt.
    pub max_len: usize,
    /// Maximum number of positions of any sequence.
    pub max_positions: usize,
    /// Prompt tokens of all sequences.
    pub n_tokens: usize,
    /// Maximum number of positions of all sequences together.
    pub n_positions: usize,
}

impl BatchInfo {
    /// A batch of requests.
    pub fn of(batch: impl IntoIterator<Item = RequestShape>) -> Self {
        let mut info = Self::default();
        for request in batch {
            info.add(&request);
        }
        info
    }

    /// Adds a request.
    pub fn add(&mut self, request: &RequestShape) {
        self.n_sequences += request.n_choices;
        self.max_len = self.max_len.max(request.prompt_len);
        self.max_positions = self.max_positions.max(request.max_len);
        self.n_tokens = self.n_tokens.saturating_add(request.prompt_len.saturating_mul(request.n_choices));
        self.n_positions = self.n_positions.saturating_add(request.max_len.saturating_mul(request.n_choices));
    }

    /// Prompt tokens if all were padded to the longest.
    pub fn padded_tokens(&self) -> usize {
        self.n_sequences.saturating_mul(self.max_len)
    }

    /// Percentage of the padded tokens that are real.
    pub fn padding_efficiency_percent(&self) -> usize {
        (self.n_tokens * 100).checked_div(self.padded_tokens()).unwrap_or(100)
    }
}

/// Takes requests in order while there are slots and the batch `fits`. Stops at the first that does not fit: taking a
/// smaller one behind it could delay it indefinitely.
fn take_while(
    running: &BatchInfo,
    waiting: impl IntoIterator<Item = (usize, RequestShape)>,
    n_slots: usize,
    fits: impl Fn(&BatchInfo) -> bool,
    chosen: &mut Vec<usize>,
) {
    let max_sequences = running.n_sequences.saturating_add(n_slots);
    let mut batch = *running;
    for (index, request) in waiting {
        let mut larger = batch;
        larger.add(&request);
        if larger.n_sequences > max_sequences || !fits(&larger) {
            break;
        }
        batch = larger;
        chosen.push(index);
    }
}

#[cfg(test)]
mod tests;
