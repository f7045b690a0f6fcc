//! Min-p: drops tokens that are improbable relative to the most likely one.

use super::Candidates;

impl Candidates {
    /// Keeps candidates with at least `min_p` times the probability of the most likely one.
    pub(crate) fn keep_min_p(&mut self, min_p: f32, temperature: f64) {
        // p ≥ min_p · p_max  ⇔  (logit - max) / temperature ≥ ln(min_p)
        let max = f64::from(self.max_logit());
        let lowest = temperature * libm::log(f64::from(min_p));
        self.list.retain(|candidate| f64::from(candidate.logit) - max >= lowest);
    }
}
