//! The steps after the filters: each drops candidates or changes the temperature.

use super::{Candidates, Draw, History, LogitsFilter};
use crate::{DynamicTemperature, XtcOptions};

/// A step.
#[derive(Debug)]
pub(crate) enum Cut {
    /// A filter that the order of samplers puts after a cut.
    Filter(Box<dyn LogitsFilter>),
    Temperature(f64),
    DynamicTemperature(f64, DynamicTemperature),
    TopNSigma(f32),
    TopK(usize),
    Typical(f32),
    TopP(f32),
    MinP(f32),
    Xtc(XtcOptions),
}

impl Cut {
    /// Whether the most likely token always survives.
    pub(crate) fn keeps_likeliest(&self) -> bool {
        !matches!(self, Self::Filter(_) | Self::Typical(_) | Self::Xtc(_) | Self::DynamicTemperature(..))
    }

    /// Applies the step to candidates at a `temperature` and returns the new temperature. `logits`, `[vocab_size]`, are the logits
    /// that the candidates were gathered from.
    pub(crate) fn apply(
        &self,
        candidates: &mut Candidates,
        logits: &mut [f32],
        history: &mut History<'_>,
        temperature: f64,
        draw: Draw,
    ) -> f64 {
        match self {
            Self::Filter(filter) => {
                candidates.filter(filter.as_ref(), logits, history, temperature);
                return 1.0;
            }
            Self::Temperature(own) => return candidates.at_temperature(temperature * own),
            Self::DynamicTemperature(own, dynamic) => {
                let own = candidates.dynamic_temperature(*own, *dynamic, temperature);
                return candidates.at_temperature(temperature * own);
            }
            Self::TopNSigma(n) => candidates.keep_top_n_sigma(*n),
            Self::TopK(k) => candidates.keep_top_k(*k),
            Self::Typical(p) => candidates.keep_typical(*p, temperature),
            Self::TopP(p) => candidates.keep_top_p(*p, temperature),
            Self::MinP(p) => candidates.keep_min_p(*p, temperature),
            Self::Xtc(xtc) => candidates.exclude_top(*xtc, temperature, draw),
        }
        temperature
    }
}

impl Candidates {
    /// Keeps only the most likely candidate if the temperature is 0. Returns the temperature to go on with.
    fn at_temperature(&mut self, temperature: f64) -> f64 {
        if temperature > 0.0 {
            return temperature;
        }
        if let Some(best) = self.list.iter().copied().min_by(|a, b| a.rank(b)) {
            self.list.clear();
            self.list.push(best);
        }
        1.0
    }

    /// Applies a filter to the candidates' logits divided by the temperature.
    fn filter(
        &mut self,
        filter: &dyn LogitsFilter,
        logits: &mut [f32],
        history: &mut History<'_>,
        temperature: f64,
    ) {
        for candidate in &self.list {
            logits[candidate.token.0 as usize] = (f64::from(candidate.logit) / temperature) as f32;
        }
        filter.apply(logits, history);
        self.list.retain_mut(|candidate| {
            candidate.logit = logits[candidate.token.0 as usize];
            candidate.logit > f32::NEG_INFINITY
        });
    }
}
