//! Speculation: guesses of the next tokens, which one step of the model checks together.
//!
//! At each guessed position the model's own sample is drawn, and the guess counts where it equals that sample. So no
//! output ever changes: right guesses save steps, and nothing else. A guess comes from the text so far ([`lookup`]), or
//! from a smaller model ([`DraftModel`]) that draws with the request's own options and random numbers.

mod draft_model;
mod lookup;

use crate::Error;

pub(crate) use draft_model::{DraftModel, Guess};
pub(crate) use lookup::lookup;

/// Guesses that a sequence may have in one step at most.
pub const MAX_DRAFT_LEN: usize = 16;

/// Whether and how next tokens are guessed. Nothing of it changes what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeculationConfig {
    /// Guesses that what followed the last few tokens earlier, in prompt or output, follows again: quick where a text repeats
    /// itself or its prompt. Off by default. Where it finds nothing, the draft model is asked, if there is one.
    pub lookup: bool,
    /// Guesses per sequence and step at most; how many there are is found by what they were worth. 8 by default.
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

    /// Sets how many drafts a sequence may have in a step.
    #[must_use]
    pub fn max_draft_len(self, max_draft_len: usize) -> Self {
        Self { max_draft_len, ..self }
    }

    /// Whether all values can be used.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if (1..=MAX_DRAFT_LEN).contains(&self.max_draft_len) {
            return Ok(());
        }
        let message = format!("{} is not possible; it must be 1 to {MAX_DRAFT_LEN}", self.max_draft_len);
        Err(Error::validation("max_draft_len", message))
    }
}

/// What guesses were worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeculationStats {
    /// Steps of sequences that checked guesses.
    pub checks: u64,
    /// Guesses.
    pub drafted: u64,
    /// Guesses that were right.
    pub accepted: u64,
    /// Right guesses by their place behind the last known token.
    pub accepted_at: [u64; MAX_DRAFT_LEN],
    /// Steps of the draft model that failed; the sequences went on without guesses.
    pub failed: u64,
}

impl SpeculationStats {
    /// Share of guesses that were right; 0 without any.
    pub fn acceptance(&self) -> f64 {
        if self.drafted == 0 { 0.0 } else { self.accepted as f64 / self.drafted as f64 }
    }

    /// Notes that of `n_drafts` the first `n_accepted` were right.
    pub(crate) fn count(&mut self, n_drafts: usize, n_accepted: usize) {
        self.checks += 1;
        self.drafted += n_drafts as u64;
        self.accepted += n_accepted as u64;
        self.accepted_at.iter_mut().take(n_accepted).for_each(|count| *count += 1);
    }
}
