//! Log-probabilities of the raw distribution, before penalties and temperature, or of the one that tokens are drawn from.

use sm_tensor::TokenId;

use super::{Candidate, Candidates};
use crate::output::MAX_RESERVED;
use crate::{Error, LogprobsOf, TokenLogprob};

/// Maximum number of top tokens to reserve for; longer lists grow.
pub(crate) const MAX_RESERVED_TOPS: usize = 20 * MAX_RESERVED;

/// `ln Σ exp(logit)`, summed in order in double precision.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + libm::log(logits.iter().map(|&logit| libm::exp(f64::from(logit) - max)).sum())
}

/// A copy of a step's logits before the filters modify them.
#[derive(Debug, Default)]
pub(crate) struct RawLogits {
    logits: Vec<f32>,
}

impl RawLogits {
    /// Saves `logits`, `[vocab_size]`, replacing the previous ones.
    pub(crate) fn keep(&mut self, logits: &[f32]) {
        self.logits.clear();
        self.logits.extend_from_slice(logits);
    }

    /// Appends the log-probability of the token at a position, given the preceding logits.
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

    /// Appends and returns the log-probability of `token`.
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
        logprobs.push(logprob(self.logits[token.0 as usize]))
    }

    /// Appends and returns the log-probability of a token that was drawn from `candidates`.
    pub(crate) fn append_drawn(
        &self,
        of: LogprobsOf,
        token: TokenId,
        logprobs: &mut Logprobs,
        candidates: &mut Candidates,
    ) -> f32 {
        match of {
            LogprobsOf::Model => self.append(token, logprobs, candidates),
            LogprobsOf::Candidates => logprobs.append_candidates(token, candidates),
        }
    }
}

/// Log-probabilities of a sequence's tokens and of the `n_top` most likely tokens at each, preallocated so that appending
/// does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Logprobs {
    n_top: usize,
    /// One per token.
    values: Vec<f32>,
    /// Those of the most likely tokens, in descending order.
    tops: Vec<(TokenId, f32)>,
    /// Where those of each token end: of few candidates there are few.
    top_ends: Vec<usize>,
}

impl Logprobs {
    /// An empty list. Reserves `n_tokens` entries if `n_top` is given, that is, if log-probabilities are requested.
    pub(crate) fn with_room(n_top: Option<usize>, n_tokens: usize) -> Self {
        let Some(n_top) = n_top else { return Self::default() };
        let n_tokens = n_tokens.min(MAX_RESERVED);
        let n_tops = n_tokens.saturating_mul(n_top).min(MAX_RESERVED_TOPS);
        let values = Vec::with_capacity(n_tokens);
        Self { n_top, values, tops: Vec::with_capacity(n_tops), top_ends: Vec::with_capacity(n_tokens) }
    }

    /// Ends an entry whose most likely tokens are there.
    fn push(&mut self, logprob: f32) -> f32 {
        self.values.push(logprob);
        self.top_ends.push(self.tops.len());
        logprob
    }

    /// Appends and returns the log-probability of a token among those from which it was drawn.
    fn append_candidates(&mut self, token: TokenId, candidates: &mut Candidates) -> f32 {
        let softmax = candidates.softmax(candidates.temperature);
        let logprob = |candidate: &Candidate| -softmax.surprise(candidate) as f32;
        let drawn = candidates.list.iter().find(|candidate| candidate.token == token).map_or(0.0, logprob);
        candidates.list.sort_unstable_by(Candidate::rank);
        let top =
            candidates.list.iter().take(self.n_top).map(|candidate| (candidate.token, logprob(candidate)));
        self.tops.extend(top);
        self.push(drawn)
    }

    fn top(&self, index: usize) -> &[(TokenId, f32)] {
        let start = if index == 0 { 0 } else { self.top_ends[index - 1] };
        &self.tops[start..self.top_ends[index]]
    }

    /// The most likely tokens at the last position, in descending order.
    pub(crate) fn last_top(&self) -> &[(TokenId, f32)] {
        self.values.len().checked_sub(1).map_or(&[], |last| self.top(last))
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Those of at most the first `n_tokens` tokens.
    pub(crate) fn first(&self, n_tokens: usize) -> Vec<TokenLogprob> {
        let values = self.values.iter().take(n_tokens).enumerate();
        values.map(|(index, &logprob)| TokenLogprob { logprob, top: self.top(index).to_vec() }).collect()
    }

    /// As [`Logprobs::first`], and that of the token after them, which ended the generation and is no part of it.
    pub(crate) fn first_and_end(
        &self,
        n_tokens: usize,
        end: Option<TokenId>,
    ) -> (Vec<TokenLogprob>, Option<(TokenId, TokenLogprob)>) {
        let mut first = self.first(n_tokens + usize::from(end.is_some()));
        let end = end.zip(first.get(n_tokens).cloned());
        first.truncate(n_tokens);
        (first, end)
    }
}
