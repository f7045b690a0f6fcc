//! Log-probabilities of the raw distribution, before penalties and temperature.

use sm_tensor::TokenId;

use super::{Candidates, check_finite};
use crate::{Error, TokenLogprob};

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

    /// The log-probability of the token at a position, and of the `n_top` likeliest ones there, by the logits before it.
    ///
    /// # Errors
    /// [`Error::InvalidLogits`].
    pub(crate) fn score(
        &mut self,
        logits: &[f32],
        (position, token): (usize, TokenId),
        n_top: usize,
        candidates: &mut Candidates,
    ) -> Result<TokenLogprob, Error> {
        check_finite(logits, position as u32)?;
        self.keep(logits);
        Ok(self.logprob(token, n_top, candidates))
    }

    /// The log-probability of `token`, and of the `n_top` likeliest tokens.
    pub(crate) fn logprob(&self, token: TokenId, n_top: usize, candidates: &mut Candidates) -> TokenLogprob {
        let log_sum_exp = log_sum_exp(&self.logits);
        let logprob = |logit: f32| (f64::from(logit) - log_sum_exp) as f32;
        let top = match n_top {
            0 => Vec::new(),
            _ => {
                candidates.gather(&self.logits, n_top);
                candidates.list.sort_unstable_by(super::Candidate::rank);
                candidates.list.iter().map(|candidate| (candidate.token, logprob(candidate.logit))).collect()
            }
        };
        TokenLogprob { logprob: logprob(self.logits[token.0 as usize]), top }
    }
}
