//! Log-probabilities of the raw distribution, before penalties and temperature.

use sm_tensor::TokenId;

use super::{Candidate, Candidates};
use crate::output::MAX_RESERVED;
use crate::{Error, TokenLogprob};

/// Likeliest tokens that room is made for at most; longer lists grow.
pub(crate) const MAX_RESERVED_TOPS: usize = 20 * MAX_RESERVED;

/// `ln Σ exp(logit)`, summed in order in double precision.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + libm::log(logits.iter().map(|&logit| libm::exp(f64::from(logit) - max)).sum())
}

/// A copy of the logits of a step, kept from before the filters change them.
#[derive(Debug, Default)]
pub(crate) struct RawLogits {
    logits: Vec<f32>,
}

impl RawLogits {
    /// Keeps `logits`, `[vocab_size]`, instead of the last ones.
    pub(crate) fn keep(&mut self, logits: &[f32]) {
        self.logits.clear();
        self.logits.extend_from_slice(logits);
    }

    /// Appends the log-probability of the token at a position by the logits before it.
    ///
    /// # Errors
    /// [`Error::InvalidLogits`].
    pub(crate) fn score(
        &mut self,
        logits: &[f32],
        (position, token): (usize, TokenId),
        logprobs: &mut Logprobs,
        candidates: &mut Candidates,
    ) -> Result<(), Error> {
        candidates.check(logits, position)?;
        self.keep(logits);
        self.append(token, logprobs, candidates);
        Ok(())
    }

    /// Appends the log-probability of `token`, and gives it.
    pub(crate) fn append(&self, token: TokenId, logprobs: &mut Logprobs, candidates: &mut Candidates) -> f32 {
        let log_sum_exp = log_sum_exp(&self.logits);
        let logprob = |logit: f32| (f64::from(logit) - log_sum_exp) as f32;
        if logprobs.n_top > 0 {
            candidates.look_at(&self.logits);
            candidates.gather(&self.logits, logprobs.n_top);
            candidates.list.sort_unstable_by(Candidate::rank);
            let top = candidates.list.iter().map(|candidate| (candidate.token, logprob(candidate.logit)));
            logprobs.tops.extend(top);
        }
        let value = logprob(self.logits[token.0 as usize]);
        logprobs.values.push(value);
        value
    }
}

/// The log-probabilities of the tokens of a sequence and of the `n_top` likeliest at each, in lists with room for all, so
/// that a token is added without an allocation.
#[derive(Debug, Default)]
pub(crate) struct Logprobs {
    n_top: usize,
    /// One per token.
    values: Vec<f32>,
    /// Those of the likeliest tokens, falling: as many for each token.
    tops: Vec<(TokenId, f32)>,
}

impl Logprobs {
    /// None yet; with room for `n_tokens` tokens if `n_top` is given, which means that they are wanted.
    pub(crate) fn with_room(n_top: Option<usize>, n_tokens: usize) -> Self {
        let Some(n_top) = n_top else { return Self::default() };
        let n_tokens = n_tokens.min(MAX_RESERVED);
        let n_tops = n_tokens.saturating_mul(n_top).min(MAX_RESERVED_TOPS);
        Self { n_top, values: Vec::with_capacity(n_tokens), tops: Vec::with_capacity(n_tops) }
    }

    /// The likeliest tokens in the place of the last token, falling.
    pub(crate) fn last_top(&self) -> &[(TokenId, f32)] {
        let n_top = self.tops.len().checked_div(self.values.len()).unwrap_or(0);
        &self.tops[self.tops.len() - n_top..]
    }

    /// How many tokens have one.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Those of the first `n_tokens` tokens at most, each in a list of its own.
    pub(crate) fn first(&self, n_tokens: usize) -> Vec<TokenLogprob> {
        // A vocabulary may have fewer than `n_top` tokens.
        let n_top = self.tops.len().checked_div(self.values.len()).unwrap_or(0);
        let top = |index: usize| self.tops[index * n_top..][..n_top].to_vec();
        let values = self.values.iter().take(n_tokens).enumerate();
        values.map(|(index, &logprob)| TokenLogprob { logprob, top: top(index) }).collect()
    }
}
