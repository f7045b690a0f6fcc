//! Speculative decoding: drafts of the next tokens, which one step of the model verifies together.
//!
//! ```text
//! known   … a b c           drafts x y z
//! rows          c x y z     one step; at each row the model's own token is drawn, with the request's options and noise
//! drawn         x y Q ·     x and y equal the drafts: accepted. z follows a token that was not drawn: its row is void
//! ```
//!
//! A draft is accepted if it equals the token that the model draws itself, so drafts save steps and never change an output.
//! With greedy decoding this is exact matching. With sampling it is a Gumbel coupling
//! (<https://arxiv.org/abs/2408.07978>): a token's noise depends on seed, position and token only, so a draft model that draws
//! with the same noise agrees far more often than two independent draws would. The alternative, rejection sampling
//! (<https://arxiv.org/abs/2211.17192>), accepts slightly more drafts, but its output depends on the draft model.
//!
//! Drafts come from the text so far ([`lookup`]) or from a smaller model ([`DraftModel`]).

mod draft_model;
mod lookup;

use crate::Error;

pub(crate) use draft_model::{DraftModel, Drafts};
pub(crate) use lookup::lookup;

/// The most drafts that a sequence may have in one step.
pub const MAX_DRAFT_LEN: usize = 16;

/// Whether and how next tokens are drafted. It never changes what is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeculationConfig {
    /// Drafts what followed the last few tokens earlier, in prompt or output: quick where a text repeats itself or its prompt.
    /// Off by default. Where it finds nothing, the draft model is asked, if there is one.
    pub lookup: bool,
    /// The most drafts per sequence and step. How many are made depends on how many were accepted so far. 8 by default.
    pub max_draft_len: usize,
}

impl Default for SpeculationConfig {
    fn default() -> Self {
        Self { lookup: false, max_draft_len: 8 }
    }
}

impl SpeculationConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drafts by lookup.
    #[must_use]
    pub fn lookup(self) -> Self {
        Self { lookup: true, ..self }
    }

    /// Sets the most drafts per sequence and step.
    #[must_use]
    pub fn max_draft_len(self, max_draft_len: usize) -> Self {
        Self { max_draft_len, ..self }
    }

    /// Checks all values.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if (1..=MAX_DRAFT_LEN).contains(&self.max_draft_len) {
            return Ok(());
        }
        let message = format!("{} is not possible; it must be 1 to {MAX_DRAFT_LEN}", self.max_draft_len);
        Err(Error::validation("max_draft_len", message))
    }
}

/// What drafts were worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeculationStats {
    /// Times that a sequence's drafts were verified.
    pub checks: u64,
    /// Drafts that were verified.
    pub drafted: u64,
    /// Drafts that were accepted.
    pub accepted: u64,
    /// Accepted drafts by their position after the last known token.
    pub accepted_at: [u64; MAX_DRAFT_LEN],
    /// Steps of the draft model that failed; the sequences continued without drafts.
    pub failed: u64,
}

impl SpeculationStats {
    /// Share of drafts that were accepted; 0 without any.
    pub fn acceptance(&self) -> f64 {
        if self.drafted == 0 { 0.0 } else { self.accepted as f64 / self.drafted as f64 }
    }

    /// Notes that of `n_drafts` the first `n_accepted` were accepted.
    pub(crate) fn count(&mut self, n_drafts: usize, n_accepted: usize) {
        self.checks += 1;
        self.drafted += n_drafts as u64;
        self.accepted += n_accepted as u64;
        self.accepted_at.iter_mut().take(n_accepted).for_each(|count| *count += 1);
    }
}
