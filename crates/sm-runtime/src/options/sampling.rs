//! Sampling options.

use sm_model::SamplingDefaults;
use sm_tensor::{TokenId, setters, some_setters};

use crate::Error;

/// How the next token is sampled. [`sampling`](crate::sampling) describes the order of the filters.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SamplingOptions {
    /// The only tokens that may be sampled. All by default.
    pub allowed_tokens: Option<Vec<TokenId>>,
    /// Words that must not occur in the output, at the start of a word or inside one, as tokenized. None by default.
    pub bad_words: Vec<String>,
    /// Values added to the logits of tokens; `-inf` forbids a token. Empty by default.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Divides positive and multiplies negative logits of tokens that have occurred. 1 (the default) disables it.
    pub repetition_penalty: f32,
    /// Number of most recent prompt and output tokens the repetition penalty considers. 0 (the default) considers all.
    pub repetition_window: usize,
    /// Subtracted once from the logits of tokens that occur in the output. 0 (the default) disables it.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens once per occurrence in the output. 0 (the default) disables it.
    pub frequency_penalty: f32,
    /// Divides the logits. 0 always picks the most likely token. 0.8 by default.
    pub temperature: f32,
    /// Keeps the `top_k` most likely tokens. 0 disables it. 40 by default.
    pub top_k: usize,
    /// Keeps the smallest set of most likely tokens with at least this total probability. 1 disables it. 0.95 by default.
    pub top_p: f32,
    /// Keeps tokens with at least this probability relative to the most likely one. 0 (the default) disables it.
    pub min_p: f32,
    /// Makes the output reproducible. By default a random seed is drawn and returned with the result.
    pub seed: Option<u64>,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            allowed_tokens: None,
            bad_words: Vec::new(),
            logit_bias: Vec::new(),
            repetition_penalty: 1.0,
            repetition_window: 0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.0,
            seed: None,
        }
    }
}

impl SamplingOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The defaults, and where a model's files recommend other values, those.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), sm_runtime::Error> {
    /// use std::path::Path;
    ///
    /// use sm_runtime::{Engine, GenerationOptions, SamplingOptions};
    ///
    /// let engine = Engine::builder().load(Path::new("model.gguf"))?;
    /// let sampling = SamplingOptions::of_model(engine.model().sampling_defaults()).seed(7);
    /// let options = GenerationOptions::new().sampling(sampling);
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_model(model: &SamplingDefaults) -> Self {
        let own = Self::default();
        Self {
            repetition_penalty: model.repetition_penalty.unwrap_or(own.repetition_penalty),
            temperature: model.temperature.unwrap_or(own.temperature),
            top_k: model.top_k.unwrap_or(own.top_k),
            top_p: model.top_p.unwrap_or(own.top_p),
            min_p: model.min_p.unwrap_or(own.min_p),
            ..own
        }
    }

    /// Options that always pick the most likely token, without filters or penalties.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, ..Self::default() }
    }

    setters!(
        bad_words: Vec<String>,
        logit_bias: Vec<(TokenId, f32)>,
        repetition_penalty: f32,
        repetition_window: usize,
        presence_penalty: f32,
        frequency_penalty: f32,
        temperature: f32,
        top_k: usize,
        top_p: f32,
        min_p: f32,
    );
    some_setters!(allowed_tokens: Vec<TokenId>, seed: u64);

    pub(super) fn validate(&self) -> Result<(), Error> {
        let is_fraction = |value: f32| (0.0..=1.0).contains(&value);
        let is_positive = self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0;
        let is_temperature = self.temperature.is_finite() && self.temperature >= 0.0;
        let checks = [
            ("temperature", self.temperature, is_temperature, "0 or more"),
            ("top_p", self.top_p, is_fraction(self.top_p), "between 0 and 1"),
            ("min_p", self.min_p, is_fraction(self.min_p), "between 0 and 1"),
            ("repetition_penalty", self.repetition_penalty, is_positive, "more than 0 (1 disables it)"),
            ("presence_penalty", self.presence_penalty, self.presence_penalty.is_finite(), "finite"),
            ("frequency_penalty", self.frequency_penalty, self.frequency_penalty.is_finite(), "finite"),
        ];
        if let Some((field, value, _, rule)) = checks.into_iter().find(|(_, _, is_valid, _)| !is_valid) {
            return Err(Error::validation(field, format!("{value} is out of range; it must be {rule}")));
        }
        if self.allowed_tokens.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::validation("allowed_tokens", "no token is allowed; omit it to allow all"));
        }
        if self.bad_words.iter().any(String::is_empty) {
            return Err(Error::validation("bad_words", "a word is empty; remove it"));
        }
        match self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            Some((token, bias)) => {
                let message =
                    format!("{bias} for token {} is out of range; it must be finite or -inf", token.0);
                Err(Error::validation("logit_bias", message))
            }
            None => Ok(()),
        }
    }
}
