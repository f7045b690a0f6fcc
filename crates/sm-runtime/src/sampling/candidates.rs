//! Candidate tokens for sampling.

use std::cmp::Ordering;

use sm_tensor::TokenId;

use super::block_maxima::BlockMaxima;
use crate::Error;

/// A token that may be sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: TokenId,
    /// Its logit after filtering, not divided by the temperature.
    pub logit: f32,
    /// Its probability relative to the most likely token, in units of 2^-40; only set by top-p.
    pub(crate) mass: u64,
}

impl Candidate {
    /// Most likely first, ties by lower token id. A total order, so every cut is well defined.
    pub(crate) fn rank(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

/// The remaining candidates. Reuses its memory between draws.
#[derive(Debug, Default)]
pub struct Candidates {
    pub(crate) list: Vec<Candidate>,
    /// Maxima of the logits that candidates are gathered from.
    pub(crate) maxima: BlockMaxima,
    /// At which a token was drawn from them.
    pub(crate) temperature: f64,
}

impl Candidates {
    /// An empty list, without allocating.
    pub fn new() -> Self {
        Self::default()
    }

    /// The remaining candidates, unordered.
    pub fn as_slice(&self) -> &[Candidate] {
        &self.list
    }

    /// Scans `logits`, `[vocab_size]`, from which candidates will be gathered.
    pub(crate) fn look_at(&mut self, logits: &[f32]) {
        self.maxima.find(logits);
    }

    /// The same for raw model logits. Rejects NaN and infinities: an argmax over them would be an arbitrary token that
    /// looks valid.
    ///
    /// # Errors
    /// [`Error::InvalidLogits`].
    pub(crate) fn check(&mut self, logits: &[f32], position: usize) -> Result<(), Error> {
        if self.maxima.find(logits) {
            return Ok(());
        }
        let token = logits.iter().position(|x| !x.is_finite()).unwrap_or_default();
        Err(Error::InvalidLogits { value: logits[token], token, position })
    }

    /// Replaces the candidates with the `top_k` most likely allowed tokens, in order, or all of them if 0. The logits must be those
    /// last scanned.
    pub(crate) fn gather(&mut self, logits: &[f32], top_k: usize) {
        if top_k == 0 {
            return self.gather_all(logits);
        }
        if top_k >= logits.len() {
            self.gather_all(logits);
        } else {
            self.gather_top_k(logits, top_k);
        }
        self.sort();
    }

    /// Most likely first: sums over the most likely tokens have one order, whether they were gathered here or by an executor.
    fn sort(&mut self) {
        self.list.sort_unstable_by(Candidate::rank);
    }

    /// Replaces the candidates with tokens that an executor gathered.
    ///
    /// # Errors
    /// [`Error::InvalidLogits`].
    pub(crate) fn take(&mut self, gathered: &[(TokenId, f32)], position: usize) -> Result<(), Error> {
        if let Some(&(token, value)) = gathered.iter().find(|(_, logit)| !logit.is_finite()) {
            return Err(Error::InvalidLogits { value, token: token.0 as usize, position });
        }
        self.list.clear();
        self.list.extend(gathered.iter().map(|&(token, logit)| Candidate { token, logit, mass: 0 }));
        self.sort();
        Ok(())
    }

    fn gather_all(&mut self, logits: &[f32]) {
        self.list.clear();
        let allowed = (0..).zip(logits).filter(|(_, logit)| **logit > f32::NEG_INFINITY);
        self.list.extend(allowed.map(|(token, &logit)| Candidate { token: TokenId(token), logit, mass: 0 }));
    }

    /// The largest logit.
    pub(crate) fn max_logit(&self) -> f32 {
        self.list.iter().fold(f32::NEG_INFINITY, |max, candidate| max.max(candidate.logit))
    }
}
