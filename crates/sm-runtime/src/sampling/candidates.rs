//! The tokens among which the draw is made.

use std::cmp::Ordering;

use sm_tensor::TokenId;

use super::block_maxima::BlockMaxima;
use crate::Error;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: TokenId,
    /// Its logit after the filters, not divided by the temperature.
    pub logit: f32,
    /// Its probability relative to the likeliest, in units of 2^-40; only set by top-p.
    pub(crate) mass: u64,
}

impl Candidate {
    /// Likelier first, the lower token id first among equals. A total order, so every cut is well defined.
    pub(crate) fn rank(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

/// The tokens that are left, and the memory for them, kept from draw to draw.
#[derive(Debug, Default)]
pub struct Candidates {
    pub(crate) list: Vec<Candidate>,
    /// Of the logits that candidates are gathered from.
    pub(crate) maxima: BlockMaxima,
}

impl Candidates {
    /// No candidates, no memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The candidates that are left, in no particular order.
    pub fn as_slice(&self) -> &[Candidate] {
        &self.list
    }

    /// Looks at `logits`, `[vocab_size]`, from which candidates will be gathered.
    pub(crate) fn look_at(&mut self, logits: &[f32]) {
        self.maxima.find(logits);
    }

    /// The same for logits as a model gave them. Refuses NaN and infinities: an argmax over them would be an arbitrary
    /// token that looks like an answer.
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

    /// Replaces the candidates by the `top_k` likeliest tokens that are not forbidden; by all of them if 0. The logits are
    /// those that were looked at last.
    pub(crate) fn gather(&mut self, logits: &[f32], top_k: usize) {
        if top_k == 0 || top_k >= logits.len() {
            self.gather_all(logits);
        } else {
            self.gather_top_k(logits, top_k);
        }
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
