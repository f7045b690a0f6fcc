//! The order of samplers.

use super::SamplingOptions;
use crate::{Error, SamplerKind};

impl SamplingOptions {
    /// The samplers to apply, in order.
    pub(crate) fn order(&self) -> Vec<SamplerKind> {
        use SamplerKind::{Dry, Penalties, Temperature};
        if self.mirostat.is_some() {
            return vec![Penalties, Dry, Temperature];
        }
        let mut order = self.samplers.clone().unwrap_or_else(|| SamplerKind::ALL.into());
        if self.samplers.is_none() && self.dynamic_temperature.range > 0.0 {
            // Its entropy should be that of the candidates left by the cuts.
            order.retain(|kind| *kind != Temperature);
            order.push(Temperature);
        }
        order
    }

    /// Checks that the order contains every sampler that was set: none is ignored silently.
    pub(super) fn check_order(&self) -> Result<(), Error> {
        if let (Some(_), Some(_)) = (self.mirostat, &self.samplers) {
            let message =
                "mirostat takes the place of all cuts, so there is no order; leave out one of the two";
            return Err(Error::validation("samplers", message));
        }
        if let Some(order) = &self.samplers {
            let twice = (1..order.len()).find(|&index| order[..index].contains(&order[index]));
            if let Some(index) = twice {
                let message = format!("{} occurs twice; name it once", order[index]);
                return Err(Error::validation("samplers", message));
            }
        }
        let order = self.order();
        let omitted = SamplerKind::ALL.into_iter().filter(|kind| !order.contains(kind));
        for kind in omitted {
            let Some((field, value)) = self.set_value(kind) else { continue };
            let message = match self.mirostat {
                Some(_) => {
                    format!("{value} has no effect, since mirostat takes the place of all cuts; leave it out")
                }
                None => {
                    format!("{value} has no effect, since the order of samplers leaves {kind} out; add it")
                }
            };
            return Err(Error::validation(field, message));
        }
        Ok(())
    }

    /// The field and value set for a sampler, if it is neither the default nor disabled.
    fn set_value(&self, kind: SamplerKind) -> Option<(&'static str, f32)> {
        let default = Self::default();
        let values = match kind {
            SamplerKind::Penalties => vec![
                ("repetition_penalty", self.repetition_penalty, 1.0, 1.0),
                ("presence_penalty", self.presence_penalty, 0.0, 0.0),
                ("frequency_penalty", self.frequency_penalty, 0.0, 0.0),
            ],
            SamplerKind::Dry => vec![("dry.multiplier", self.dry.multiplier, 0.0, 0.0)],
            SamplerKind::TopNSigma => vec![("top_n_sigma", self.top_n_sigma, 0.0, 0.0)],
            SamplerKind::Temperature => vec![
                // 0 is greedy wherever it stands.
                (
                    "temperature",
                    self.temperature,
                    default.temperature,
                    if self.temperature == 0.0 { 0.0 } else { 1.0 },
                ),
                ("dynamic_temperature.range", self.dynamic_temperature.range, 0.0, 0.0),
            ],
            SamplerKind::TopK => vec![("top_k", self.top_k as f32, default.top_k as f32, 0.0)],
            SamplerKind::TypicalP => vec![("typical_p", self.typical_p, 1.0, 1.0)],
            SamplerKind::TopP => vec![("top_p", self.top_p, default.top_p, 1.0)],
            SamplerKind::MinP => vec![("min_p", self.min_p, 0.0, 0.0)],
            SamplerKind::Xtc => vec![("xtc.probability", self.xtc.probability, 0.0, 0.0)],
        };
        let is_set =
            |&(_, value, default, neutral): &(&str, f32, f32, f32)| value != default && value != neutral;
        values.into_iter().find(is_set).map(|(field, value, ..)| (field, value))
    }
}
