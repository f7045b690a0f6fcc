//! The tokens among which the draw is made.

use std::cmp::Ordering;

use sm_tensor::TokenId;

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

    /// Replaces the candidates by the `top_k` likeliest tokens that are not forbidden; by all of them if 0.
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
