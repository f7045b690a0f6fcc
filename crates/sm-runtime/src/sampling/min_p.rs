//! Dropping tokens that are improbable beside the likeliest.

use super::Candidates;

impl Candidates {
    /// Keeps candidates whose probability is at least `min_p` times that of the likeliest.
    pub(crate) fn keep_min_p(&mut self, min_p: f32, temperature: f64) {
        // p ≥ min_p · p_max  ⇔  (logit - max) / temperature ≥ ln(min_p)
        let max = f64::from(self.max_logit());
        let lowest = temperature * libm::log(f64::from(min_p));
        self.list.retain(|candidate| f64::from(candidate.logit) - max >= lowest);
    }
}
