//! A temperature that grows with the candidates' entropy: confident steps stay confident, open ones get more random
//! ([dynamic temperature](https://github.com/ggml-org/llama.cpp/pull/4972)).
//!
//! ```text
//! T = T_min + (T_max - T_min) · (H / ln n)^exponent      T_min = max(0, T₀ - range), T_max = T₀ + range
//! ```
//!
//! where H is the entropy of the n candidates, as in llama.cpp.

use super::{Candidate, Candidates};
use crate::DynamicTemperature;

impl Candidates {
    /// The temperature for these candidates, whose logits have been divided by `before`.
    pub(crate) fn dynamic_temperature(
        &mut self,
        temperature: f64,
        dynamic: DynamicTemperature,
        before: f64,
    ) -> f64 {
        if self.list.len() < 2 {
            return temperature;
        }
        self.list.sort_unstable_by(Candidate::rank);
        let softmax = self.softmax(before);
        let entropy: f64 =
            self.list.iter().map(|each| softmax.surprise(each) * softmax.probability(each)).sum();
        let normalized = (entropy / libm::log(self.list.len() as f64)).clamp(0.0, 1.0);
        let range = f64::from(dynamic.range);
        let (min, max) = ((temperature - range).max(0.0), temperature + range);
        min + (max - min) * libm::pow(normalized, dynamic.exponent.into())
    }
}
