//! Keeps the tokens whose logits are within n standard deviations of the largest
//! ([Top-nσ](https://arxiv.org/abs/2411.07641)).
//!
//! The deviation is over all candidates, as in llama.cpp. The temperature does not matter: it scales logits and deviation alike.

use super::Candidates;

impl Candidates {
    /// Keeps the candidates whose logits are at most `n` standard deviations below the largest.
    pub(crate) fn keep_top_n_sigma(&mut self, n: f32) {
        if n <= 0.0 || self.list.len() < 2 {
            return;
        }
        let n_candidates = self.list.len() as f64;
        let logits = || self.list.iter().map(|candidate| f64::from(candidate.logit));
        let mean = logits().sum::<f64>() / n_candidates;
        let variance = logits().map(|logit| (logit - mean) * (logit - mean)).sum::<f64>() / n_candidates;
        let lowest = f64::from(self.max_logit()) - f64::from(n) * variance.sqrt();
        self.list.retain(|candidate| f64::from(candidate.logit) >= lowest);
    }
}
