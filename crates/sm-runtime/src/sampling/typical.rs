//! Locally typical sampling ([Meister et al. 2022](https://arxiv.org/abs/2202.00666)): keeps the tokens whose surprise is closest
//! to the entropy.
//!
//! With the candidates' probabilities p and entropy `H = -Σ p ln p`, tokens are kept in order of `|-ln p - H|` until their total
//! probability exceeds `typical_p`, as in llama.cpp.

use super::{Candidate, Candidates};

impl Candidates {
    /// Keeps the most typical candidates, until their total probability exceeds `typical_p`; at least one.
    pub(crate) fn keep_typical(&mut self, typical_p: f32, temperature: f64) {
        if typical_p >= 1.0 || self.list.len() < 2 {
            return;
        }
        self.list.sort_unstable_by(Candidate::rank);
        let softmax = self.softmax(temperature);
        let entropy: f64 =
            self.list.iter().map(|each| softmax.surprise(each) * softmax.probability(each)).sum();
        for candidate in &mut self.list {
            // The bits of nonnegative floats sort like the floats.
            candidate.mass = (softmax.surprise(candidate) - entropy).abs().to_bits();
        }
        self.list.sort_unstable_by(|a, b| a.mass.cmp(&b.mass).then_with(|| a.rank(b)));
        let mut sum = 0.0;
        let exceeds = |candidate: &Candidate| {
            sum += softmax.probability(candidate);
            sum > f64::from(typical_p)
        };
        if let Some(last) = self.list.iter().position(exceeds) {
            self.list.truncate(last + 1);
        }
    }
}
