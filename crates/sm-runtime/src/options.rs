//! What a caller may ask of a generation, with the defaults of `SmallMind` and the checks that run before any work.

use sm_tensor::TokenId;

use crate::{Error, Grammar};

/// Everything that shapes one generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationOptions {
    /// How the next token is chosen.
    pub sampling: SamplingOptions,
    /// How long the prompt, the output and the wait may be.
    pub limits: Limits,
    /// What ends the output early.
    pub stop: StopRules,
    /// What the text has to be; its end is the end of the output. Anything by default.
    pub grammar: Option<Grammar>,
    /// Whether the text begins with that of the prompt; `logprobs` then hold for the tokens of the prompt too. Off by default.
    pub echo: bool,
    /// `Some(n)` returns the raw log-probability of each generated token and of the `n` likeliest alternatives.
    pub logprobs: Option<usize>,
    /// `Some(n)` returns the same of each token of the prompt after the first; nothing of it is taken from a cache then.
    pub prompt_logprobs: Option<usize>,
}

/// How the next token is chosen; [`sampling`](crate::sampling) has the order in which it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingOptions {
    /// The only tokens that may be sampled. All by default.
    pub allowed_tokens: Option<Vec<TokenId>>,
    /// Words that the output may not hold, at the beginning of a word or within one, in the spelling of their tokens. None by
    /// default.
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
    /// Always the likeliest token, without filters or penalties.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, ..Self::default() }
    }
}

/// How long the prompt, the output and the wait of one request may be. Lengths are in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Generated tokens; the output ends with `Length` there. 100 by default.
    pub max_new_tokens: usize,
    /// Prompt and generated tokens together; the smaller of the two bounds wins. Unlimited by default.
    pub max_length: Option<usize>,
    /// Prompt tokens, the beginning-of-sequence token included. Unlimited by default.
    pub max_input_tokens: Option<usize>,
    /// Narrows the model's context for this request. The model's own by default.
    pub max_context_tokens: Option<usize>,
    /// What happens to a prompt above `max_input_tokens`.
    pub long_input: LongInput,
    /// Milliseconds from submission until the request ends with what it has. Unlimited by default.
    pub max_time_ms: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_new_tokens: 100,
            max_length: None,
            max_input_tokens: None,
            max_context_tokens: None,
            long_input: LongInput::default(),
            max_time_ms: None,
        }
    }
}

/// What happens to a prompt above [`Limits::max_input_tokens`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongInput {
    /// The request fails with [`Error::ResourceLimit`].
    #[default]
    Reject,
    /// The last tokens are kept, behind the beginning-of-sequence token if the prompt has one.
    KeepTail,
}

/// What ends the output before its length does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopRules {
    /// Tokens that end the output with `Stop`; their text is not part of it.
    pub token_ids: Vec<TokenId>,
    /// Strings that end the output with `StopSequence`, wherever token borders lie.
    pub sequences: Vec<String>,
    /// Whether a matched stop string stays in the text.
    pub matched: MatchedStop,
    /// Whether the model's end-of-sequence tokens end the output with `Eos`.
    pub eos: EosRule,
    /// Before so many generated tokens nothing stops: stop and end tokens cannot be sampled, strings do not match.
    pub min_new_tokens: usize,
}

/// Whether a matched stop string stays in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatchedStop {
    /// The text ends before it.
    #[default]
    Remove,
    /// The text ends with it.
    Keep,
}

/// Whether the model's end-of-sequence tokens end the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EosRule {
    /// They do.
    #[default]
    Stop,
    /// They are tokens like any other, without text.
    Ignore,
}

impl GenerationOptions {
    /// The number of alternatives that are wanted of each token of the prompt, if its log-probabilities are.
    pub(crate) fn wanted_of_prompt(&self) -> Option<usize> {
        self.prompt_logprobs.or(self.logprobs.filter(|_| self.echo))
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Validation`] with the name of the first field that cannot be.
    pub fn validate(&self) -> Result<(), Error> {
        self.sampling.validate()?;
        self.limits.validate()?;
        if self.stop.sequences.iter().any(String::is_empty) {
            return Err(Error::validation("stop", "a stop string is empty; leave it out"));
        }
        if self.stop.min_new_tokens > self.limits.max_new_tokens {
            let message = format!(
                "{} is more than max_new_tokens = {}; lower it",
                self.stop.min_new_tokens, self.limits.max_new_tokens
            );
            return Err(Error::validation("min_new_tokens", message));
        }
        if self.grammar.is_some() && self.stop.eos == EosRule::Ignore {
            let message =
                "the end of what a grammar describes is the end of the output; leave ignore_eos out";
            return Err(Error::validation("ignore_eos", message));
        }
        Ok(())
    }

    /// Checks that every token it names is one of `vocab_size`.
    pub(crate) fn check_vocabulary(&self, vocab_size: usize) -> Result<(), Error> {
        let bias = self.sampling.logit_bias.iter().map(|(token, _)| *token);
        let check = |field, mut tokens: Box<dyn Iterator<Item = TokenId> + '_>| match tokens
            .find(|token| token.0 as usize >= vocab_size)
        {
            None => Ok(()),
            Some(TokenId(token)) => {
                let message = format!("token {token} is outside of the vocabulary of {vocab_size}");
                Err(Error::validation(field, message))
            }
        };
        check("logit_bias", Box::new(bias))?;
        check("allowed_tokens", Box::new(self.sampling.allowed_tokens.iter().flatten().copied()))?;
        check("stop_token_ids", Box::new(self.stop.token_ids.iter().copied()))
    }
}

impl SamplingOptions {
    fn validate(&self) -> Result<(), Error> {
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

impl Limits {
    fn validate(&self) -> Result<(), Error> {
        let bounds = [
            ("max_new_tokens", Some(self.max_new_tokens)),
            ("max_length", self.max_length),
            ("max_input_tokens", self.max_input_tokens),
            ("max_context_tokens", self.max_context_tokens),
        ];
        for (field, value) in bounds {
            if value == Some(0) {
                return Err(Error::validation(field, "0 is not possible; it must be at least 1"));
            }
        }
        if self.max_time_ms == Some(0) {
            return Err(Error::validation("max_time_ms", "0 is not possible; leave it out for no limit"));
        }
        match (self.max_input_tokens, self.max_context_tokens) {
            (Some(input), Some(context)) if input > context => {
                let message = format!("{input} is more than max_context_tokens = {context}; lower it");
                Err(Error::validation("max_input_tokens", message))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected_field(change: impl FnOnce(&mut GenerationOptions)) -> &'static str {
        let mut options = GenerationOptions::default();
        change(&mut options);
        match options.validate() {
            Err(Error::Validation { field, .. }) => field,
            other => panic!("expected a validation error, got {other:?}"),
        }
    }

    #[test]
    fn defaults_are_valid() {
        GenerationOptions::default().validate().unwrap();
        GenerationOptions { sampling: SamplingOptions::greedy(), ..Default::default() }.validate().unwrap();
    }

    #[test]
    fn impossible_values_name_their_field() {
        assert_eq!(rejected_field(|o| o.sampling.temperature = -0.1), "temperature");
        assert_eq!(rejected_field(|o| o.sampling.temperature = f32::NAN), "temperature");
        assert_eq!(rejected_field(|o| o.sampling.temperature = f32::INFINITY), "temperature");
        assert_eq!(rejected_field(|o| o.sampling.top_p = 1.01), "top_p");
        assert_eq!(rejected_field(|o| o.sampling.top_p = f32::NAN), "top_p");
        assert_eq!(rejected_field(|o| o.sampling.min_p = -0.5), "min_p");
        assert_eq!(rejected_field(|o| o.sampling.repetition_penalty = 0.0), "repetition_penalty");
        assert_eq!(rejected_field(|o| o.sampling.presence_penalty = f32::NAN), "presence_penalty");
        assert_eq!(rejected_field(|o| o.sampling.frequency_penalty = f32::INFINITY), "frequency_penalty");
        assert_eq!(rejected_field(|o| o.sampling.logit_bias.push((TokenId(3), f32::INFINITY))), "logit_bias");
        assert_eq!(rejected_field(|o| o.sampling.allowed_tokens = Some(Vec::new())), "allowed_tokens");
        assert_eq!(rejected_field(|o| o.sampling.bad_words.push(String::new())), "bad_words");
        assert_eq!(rejected_field(|o| o.limits.max_new_tokens = 0), "max_new_tokens");
        assert_eq!(rejected_field(|o| o.limits.max_length = Some(0)), "max_length");
        assert_eq!(rejected_field(|o| o.limits.max_time_ms = Some(0)), "max_time_ms");
        assert_eq!(rejected_field(|o| o.stop.sequences.push(String::new())), "stop");
        assert_eq!(rejected_field(|o| o.stop.min_new_tokens = 101), "min_new_tokens");
    }

    #[test]
    fn more_input_than_context_is_rejected() {
        let field = rejected_field(|o| {
            o.limits.max_input_tokens = Some(11);
            o.limits.max_context_tokens = Some(10);
        });
        assert_eq!(field, "max_input_tokens");
    }
}
