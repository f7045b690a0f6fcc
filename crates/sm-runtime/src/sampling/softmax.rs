//! Candidate probabilities, for cuts that need them individually.

use super::{Candidate, Candidates};

/// The softmax of the candidates at a temperature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    max: f64,
    temperature: f64,
    log_sum: f64,
}

impl Candidates {
    /// The softmax. Terms are summed in list order.
    pub(crate) fn softmax(&self, temperature: f64) -> Softmax {
        let max = f64::from(self.max_logit());
        let term = |candidate: &Candidate| libm::exp((f64::from(candidate.logit) - max) / temperature);
        let log_sum = libm::log(self.list.iter().map(term).sum());
        Softmax { max, temperature, log_sum }
    }
}

impl Softmax {
    /// The negative logarithm of a candidate's probability, in nats.
    pub(crate) fn surprise(&self, candidate: &Candidate) -> f64 {
        self.log_sum - (f64::from(candidate.logit) - self.max) / self.temperature
    }

    /// A candidate's probability.
    pub(crate) fn probability(&self, candidate: &Candidate) -> f64 {
        libm::exp(-self.surprise(candidate))
    }
}
