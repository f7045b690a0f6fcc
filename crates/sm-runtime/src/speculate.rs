//! Speculative decoding: drafts of the next tokens, verified together in one step of the model.
//!
//! ```text
//! known   … a b c           drafts x y z
//! rows          c x y z     one step; at each row the model's own token is drawn, with the request's options and noise
//! drawn         x y Q ·     x and y equal the drafts: accepted. z follows a token that was not drawn: its row is void
//! ```
//!
//! A draft is accepted if it equals the token that the target model itself samples, so drafts save steps and never change
//! the output. With greedy decoding this is exact matching. With sampling it is a Gumbel coupling
//! (<https://arxiv.org/abs/2408.07978>): a token's noise depends only on seed, position and token, so a draft model
//! sampling with the same noise agrees far more often than two independent samples would. The alternative, rejection
//! sampling (<https://arxiv.org/abs/2211.17192>), accepts slightly more drafts, but its output depends on the draft model.
//!
//! Drafts come from the text so far ([`lookup`]) or from a smaller model ([`DraftModel`]).

mod draft_model;
mod lookup;

use crate::Error;

pub(crate) use draft_model::{DraftModel, Drafts};
pub(crate) use lookup::lookup;

/// Maximum number of drafts per sequence and step.
pub const MAX_DRAFT_LEN: usize = 16;

/// Speculative decoding options. They never change the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeculationConfig {
    /// Prompt lookup: drafts the tokens that followed the last few tokens earlier in prompt or output. Effective for text
    /// that repeats itself or its prompt. Falls back to the draft model, if any. Off by default.
    pub lookup: bool,
    /// Maximum drafts per sequence and step. The actual number adapts to past acceptance. 8 by default.
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

    /// Enables prompt lookup.
    #[must_use]
    pub fn lookup(self) -> Self {
        Self { lookup: true, ..self }
    }

    /// Sets the maximum number of drafts per sequence and step.
    #[must_use]
    pub fn max_draft_len(self, max_draft_len: usize) -> Self {
        Self { max_draft_len, ..self }
    }

    /// Validates all values.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if (1..=MAX_DRAFT_LEN).contains(&self.max_draft_len) {
            return Ok(());
        }
        let message = format!("{} is out of range; it must be 1 to {MAX_DRAFT_LEN}", self.max_draft_len);
        Err(Error::validation("max_draft_len", message))
    }
}

/// Speculative decoding statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeculationStats {
    /// Number of verifications of a sequence's drafts.
    pub checks: u64,
    /// Verified drafts.
    pub drafted: u64,
    /// Accepted drafts.
    pub accepted: u64,
    /// Accepted drafts by position after the last known token.
    pub accepted_at: [u64; MAX_DRAFT_LEN],
    /// Failed steps of the draft model; the sequences continued without drafts.
    pub failed: u64,
}

impl SpeculationStats {
    /// Acceptance rate; 0 without drafts.
    pub fn acceptance(&self) -> f64 {
        if self.drafted == 0 { 0.0 } else { self.accepted as f64 / self.drafted as f64 }
    }

    /// Records that the first `n_accepted` of `n_drafts` were accepted.
    pub(crate) fn count(&mut self, n_drafts: usize, n_accepted: usize) {
        self.checks += 1;
        self.drafted += n_drafts as u64;
        self.accepted += n_accepted as u64;
        self.accepted_at.iter_mut().take(n_accepted).for_each(|count| *count += 1);
    }
}
