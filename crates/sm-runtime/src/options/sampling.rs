//! How the next token is chosen.

use sm_tensor::TokenId;

use crate::Error;

/// How the next token is chosen; [`sampling`](crate::sampling) has the order in which it is applied.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SamplingOptions {
    /// The only tokens that may be sampled. All by default.
    pub allowed_tokens: Option<Vec<TokenId>>,
    /// Words that the output must not contain, at the beginning of a word or within one, in the spelling of their tokens. None
    /// by default.
    pub bad_words: Vec<String>,
    /// Added to the logits of single tokens; `-inf` forbids one. Empty by default.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Divides positive and multiplies negative logits of tokens that occurred. 1 (the default) is off.
    pub repetition_penalty: f32,
    /// How many of the last tokens of prompt and output the repetition penalty sees; 0 (the default) is all.
    pub repetition_window: usize,
    /// Subtracted once from the logits of generated tokens. 0 (the default) is off.
    pub presence_penalty: f32,
    /// Subtracted from the logits of generated tokens once per occurrence. 0 (the default) is off.
    pub frequency_penalty: f32,
    /// Divides the logits; 0 always takes the likeliest token. 0.8 by default.
    pub temperature: f32,
    /// Keeps exactly so many of the likeliest tokens; 0 is off. 40 by default.
    pub top_k: usize,
    /// Keeps the fewest likeliest tokens whose probabilities sum to at least this; 1 is off. 0.95 by default.
    pub top_p: f32,
    /// Keeps tokens at least this probable relative to the likeliest; 0 (the default) is off.
    pub min_p: f32,
    /// Makes the choice repeatable; without one, a random seed is drawn and returned with the result.
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

    /// Always the likeliest token, without filters or penalties.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, ..Self::default() }
    }

    /// Sets the only tokens that may be sampled.
    #[must_use]
    pub fn allowed_tokens(self, allowed_tokens: Vec<TokenId>) -> Self {
        Self { allowed_tokens: Some(allowed_tokens), ..self }
    }

    /// Sets words that the output must not contain.
    #[must_use]
    pub fn bad_words(self, bad_words: Vec<String>) -> Self {
        Self { bad_words, ..self }
    }

    /// Sets what is added to the logits of single tokens.
    #[must_use]
    pub fn logit_bias(self, logit_bias: Vec<(TokenId, f32)>) -> Self {
        Self { logit_bias, ..self }
    }

    /// Sets the penalty of tokens that occurred; 1 is off.
    #[must_use]
    pub fn repetition_penalty(self, repetition_penalty: f32) -> Self {
        Self { repetition_penalty, ..self }
    }

    /// Sets how many of the last tokens the repetition penalty sees; 0 is all.
    #[must_use]
    pub fn repetition_window(self, repetition_window: usize) -> Self {
        Self { repetition_window, ..self }
    }

    /// Sets what is subtracted once from the logits of generated tokens.
    #[must_use]
    pub fn presence_penalty(self, presence_penalty: f32) -> Self {
        Self { presence_penalty, ..self }
    }

    /// Sets what is subtracted from the logits of generated tokens per occurrence.
    #[must_use]
    pub fn frequency_penalty(self, frequency_penalty: f32) -> Self {
        Self { frequency_penalty, ..self }
    }

    /// Sets the temperature; 0 always takes the likeliest token.
    #[must_use]
    pub fn temperature(self, temperature: f32) -> Self {
        Self { temperature, ..self }
    }

    /// Sets how many of the likeliest tokens are kept; 0 is all.
    #[must_use]
    pub fn top_k(self, top_k: usize) -> Self {
        Self { top_k, ..self }
    }

    /// Sets the probability that the kept tokens reach together; 1 is off.
    #[must_use]
    pub fn top_p(self, top_p: f32) -> Self {
        Self { top_p, ..self }
    }

    /// Sets how probable a token must be relative to the likeliest; 0 is off.
    #[must_use]
    pub fn min_p(self, min_p: f32) -> Self {
        Self { min_p, ..self }
    }

    /// Makes the choice repeatable.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed: Some(seed), ..self }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        let fraction = |value: f32| (0.0..=1.0).contains(&value);
        let checks = [
            (
                "temperature",
                self.temperature,
                self.temperature.is_finite() && self.temperature >= 0.0,
                "0 or more",
            ),
            ("top_p", self.top_p, fraction(self.top_p), "between 0 and 1"),
            ("min_p", self.min_p, fraction(self.min_p), "between 0 and 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0,
                "more than 0 (1 is off)",
            ),
            ("presence_penalty", self.presence_penalty, self.presence_penalty.is_finite(), "a finite number"),
            (
                "frequency_penalty",
                self.frequency_penalty,
                self.frequency_penalty.is_finite(),
                "a finite number",
            ),
        ];
        for (field, value, valid, rule) in checks {
            if !valid {
                return Err(Error::validation(field, format!("{value} is not possible; it must be {rule}")));
            }
        }
        if self.allowed_tokens.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::validation(
                "allowed_tokens",
                "no token is allowed; leave it out to allow all",
            ));
        }
        if self.bad_words.iter().any(String::is_empty) {
            return Err(Error::validation("bad_words", "a word is empty; leave it out"));
        }
        match self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            Some((token, bias)) => {
                let message =
                    format!("{bias} for token {} is not possible; it must be finite or -inf", token.0);
                Err(Error::validation("logit_bias", message))
            }
            None => Ok(()),
        }
    }
}
