//! Validation of sampling options.

use super::SamplingOptions;
use crate::Error;

/// Maximum number of bad words, and their length in bytes. Preparing so many takes about a second.
const MAX_BAD_WORDS: usize = 100_000;
const MAX_WORD_BYTES: usize = 1_000;
/// Maximum number of sequence breakers, each of which is looked up in every token, and their length in bytes.
const MAX_BREAKERS: usize = 100;
const MAX_BREAKER_BYTES: usize = 100;

/// A field, its value, whether it is valid, and the rule.
type Check = (&'static str, f32, bool, &'static str);

impl SamplingOptions {
    /// Checks every value.
    pub(in crate::options) fn validate(&self) -> Result<(), Error> {
        let checks = self.basic_checks().into_iter().chain(self.group_checks());
        if let Some((field, value, _, rule)) = checks.into_iter().find(|(_, _, is_valid, _)| !is_valid) {
            return Err(Error::validation(field, format!("{value} is out of range; it must be {rule}")));
        }
        if self.dynamic_temperature.range > 0.0 && self.temperature == 0.0 {
            let message = "a temperature of 0 always picks the most likely token; leave one of the two out";
            return Err(Error::validation("dynamic_temperature.range", message));
        }
        check_texts("dry.sequence_breakers", &self.dry.sequence_breakers, MAX_BREAKERS, MAX_BREAKER_BYTES)?;
        if self.allowed_tokens.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::validation("allowed_tokens", "no token is allowed; omit it to allow all"));
        }
        check_texts("bad_words", &self.bad_words, MAX_BAD_WORDS, MAX_WORD_BYTES)?;
        if let Some((token, bias)) =
            self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY)
        {
            let message = format!("{bias} for token {} is out of range; it must be finite or -inf", token.0);
            return Err(Error::validation("logit_bias", message));
        }
        self.check_order()
    }

    fn basic_checks(&self) -> [Check; 8] {
        let is_fraction = |value: f32| (0.0..=1.0).contains(&value);
        // Logits are some tens; what is taken from them for each occurrence, or multiplied with them, must not overflow.
        let is_penalty = |value: f32| (-100.0..=100.0).contains(&value);
        let penalty = "between -100 and 100 (0 disables it)";
        let is_factor = (0.01..=100.0).contains(&self.repetition_penalty);
        [
            ("temperature", self.temperature, at_least(self.temperature, 0.0), "0 or more"),
            ("top_p", self.top_p, is_fraction(self.top_p), "between 0 and 1"),
            ("min_p", self.min_p, is_fraction(self.min_p), "between 0 and 1"),
            ("typical_p", self.typical_p, is_fraction(self.typical_p), "between 0 and 1"),
            ("top_n_sigma", self.top_n_sigma, at_least(self.top_n_sigma, 0.0), "0 or more (0 disables it)"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                is_factor,
                "between 0.01 and 100 (1 disables it)",
            ),
            ("presence_penalty", self.presence_penalty, is_penalty(self.presence_penalty), penalty),
            ("frequency_penalty", self.frequency_penalty, is_penalty(self.frequency_penalty), penalty),
        ]
    }

    fn group_checks(&self) -> [Check; 8] {
        let is_fraction = |value: f32| (0.0..=1.0).contains(&value);
        let Self { dry, xtc, dynamic_temperature: dynamic, .. } = self;
        let mirostat = self.mirostat.unwrap_or_default();
        [
            ("dry.multiplier", dry.multiplier, at_least(dry.multiplier, 0.0), "0 or more (0 disables it)"),
            ("dry.base", dry.base, at_least(dry.base, 1.0), "1 or more"),
            ("xtc.probability", xtc.probability, is_fraction(xtc.probability), "between 0 and 1"),
            ("xtc.threshold", xtc.threshold, is_fraction(xtc.threshold), "between 0 and 1"),
            ("dynamic_temperature.range", dynamic.range, at_least(dynamic.range, 0.0), "0 or more"),
            ("dynamic_temperature.exponent", dynamic.exponent, at_least(dynamic.exponent, 0.0), "0 or more"),
            ("mirostat.tau", mirostat.tau, at_least(mirostat.tau, 0.0), "0 or more"),
            ("mirostat.eta", mirostat.eta, at_least(mirostat.eta, 0.0), "0 or more"),
        ]
    }
}

/// Refuses empty texts, long ones and too many: what is done for each of them is bounded only by their number and length.
///
/// # Errors
/// With the number and the limit.
pub(in crate::options) fn check_texts(
    field: &'static str,
    texts: &[String],
    max_texts: usize,
    max_bytes: usize,
) -> Result<(), Error> {
    let n_texts = texts.len();
    if n_texts > max_texts {
        let message = format!("{n_texts} texts are too many; give at most {max_texts}");
        return Err(Error::validation(field, message));
    }
    match texts.iter().map(String::len).find(|n_bytes| *n_bytes == 0 || *n_bytes > max_bytes) {
        None => Ok(()),
        Some(0) => Err(Error::validation(field, "a text is empty; remove it")),
        Some(n_bytes) => {
            let message = format!("a text of {n_bytes} bytes is too long; give at most {max_bytes}");
            Err(Error::validation(field, message))
        }
    }
}

/// Whether a value is finite and at least a bound.
fn at_least(value: f32, least: f32) -> bool {
    value.is_finite() && value >= least
}
