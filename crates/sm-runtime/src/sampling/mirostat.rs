//! Mirostat 2: a cut that keeps the output's surprise near a target
//! ([Basu et al. 2021](https://arxiv.org/abs/2007.14966); version 2 is that of the authors' repository and of llama.cpp).
//!
//! ```text
//! μ = 2 τ at the beginning; for each token: keep those with -log2 p ≤ μ, draw among them,
//! and μ ← μ - η (-log2 q - τ), where q is the probability of the token among those that were kept
//! ```
//!
//! μ depends on the request's own tokens and their logits only, which in turn do not depend on what else runs. It is stored with
//! the sequence ([`MirostatState`]), so preemption does not reset it, and only tokens sampled from the model's own logits update
//! it, so drafts do not.

use super::{Candidate, Candidates};
use crate::MirostatOptions;

/// Mirostat's state for a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MirostatState {
    /// The surprise bound, in bits; `None` before the first token.
    mu: Option<f64>,
}

impl MirostatState {
    /// The surprise bound for the next token, in bits.
    pub fn bound(&self, options: MirostatOptions) -> f64 {
        self.mu.unwrap_or(2.0 * f64::from(options.tau))
    }

    /// Updates the bound after a token with this surprise, in bits.
    pub(crate) fn observe(&mut self, surprise: f64, options: MirostatOptions) {
        let error = surprise - f64::from(options.tau);
        self.mu = Some(self.bound(options) - f64::from(options.eta) * error);
    }
}

impl Candidates {
    /// Keeps the candidates with a surprise of at most `bound` bits; at least one.
    pub(crate) fn keep_expected(&mut self, bound: f64, temperature: f64) {
        self.list.sort_unstable_by(Candidate::rank);
        let softmax = self.softmax(temperature);
        let n_kept =
            self.list.iter().take_while(|each| softmax.surprise(each) <= bound * std::f64::consts::LN_2);
        let n_kept = n_kept.count();
        self.list.truncate(n_kept.max(1));
    }
}
