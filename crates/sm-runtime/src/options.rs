//! Generation options and their validation.

mod limits;
mod sampler_kind;
mod sampling;
mod stop;

use sm_model::tokenizer::SpecialTokens;
use sm_tensor::{TokenId, setters, some_setters};

pub use limits::{Limits, LongInput};
pub use sampler_kind::SamplerKind;
pub use sampling::{DryOptions, DynamicTemperature, MirostatOptions, SamplingOptions, XtcOptions};
pub use stop::{EosRule, MatchedStop, StopRules};

use crate::{Error, Grammar, WhiteSpace};

/// Options of a generation.
///
/// ```
/// use sm_runtime::{GenerationOptions, Grammar};
///
/// let options = GenerationOptions::greedy().max_new_tokens(50).stop_sequence("\n");
/// options.validate()?;
/// let json = GenerationOptions::new().seed(7).grammar(Grammar::JsonObject);
/// assert_eq!(json.sampling.seed, Some(7));
/// # Ok::<(), sm_runtime::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GenerationOptions {
    /// How the next token is sampled.
    pub sampling: SamplingOptions,
    /// Limits on prompt, output and time.
    pub limits: Limits,
    /// What ends the output early.
    pub stop: StopRules,
    /// Grammar that the output must match; the output ends where the grammar is complete. None by default.
    pub grammar: Option<Grammar>,
    /// White space between the parts of JSON that `grammar` asks for. Compact by default.
    pub white_space: WhiteSpace,
    /// Whether special tokens are in the text, in their written form; end and stop tokens never are. Left out by default.
    pub special_tokens: SpecialTokens,
    /// Whether the text starts with the prompt and `logprobs` covers it too. Off by default.
    pub echo: bool,
    /// `Some(n)` returns the log-probabilities of each generated token and of the `n` most likely ones.
    pub logprobs: Option<usize>,
    /// Whose probabilities they are. The model's by default, before any filter.
    pub logprobs_of: LogprobsOf,
    /// `Some(n)` returns the same for each prompt token after the first. Recomputes the whole prompt, ignoring the cache.
    pub prompt_logprobs: Option<usize>,
}

/// Whose log-probabilities are returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogprobsOf {
    /// Those of the model, before any filter and the temperature.
    #[default]
    Model,
    /// Those of the candidates that are left after all filters, at the temperature. There may be fewer than were asked for.
    Candidates,
}

impl GenerationOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Greedy decoding, without filters or penalties.
    pub fn greedy() -> Self {
        Self::new().sampling(SamplingOptions::greedy())
    }

    setters!(
        sampling: SamplingOptions,
        limits: Limits,
        stop: StopRules,
        white_space: WhiteSpace,
        special_tokens: SpecialTokens,
        logprobs_of: LogprobsOf,
    );
    some_setters!(grammar: Grammar, logprobs: usize, prompt_logprobs: usize);

    /// Starts the text with the prompt.
    #[must_use]
    pub fn echo(self) -> Self {
        Self { echo: true, ..self }
    }

    /// Sets [`SamplingOptions::seed`](field@SamplingOptions::seed).
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { sampling: self.sampling.seed(seed), ..self }
    }

    /// Sets [`SamplingOptions::temperature`](field@SamplingOptions::temperature).
    #[must_use]
    pub fn temperature(self, temperature: f32) -> Self {
        Self { sampling: self.sampling.temperature(temperature), ..self }
    }

    /// Sets [`Limits::max_new_tokens`](field@Limits::max_new_tokens).
    #[must_use]
    pub fn max_new_tokens(self, n_tokens: usize) -> Self {
        Self { limits: self.limits.max_new_tokens(n_tokens), ..self }
    }

    /// Sets [`Limits::max_time_ms`](field@Limits::max_time_ms).
    #[must_use]
    pub fn max_time_ms(self, milliseconds: u64) -> Self {
        Self { limits: self.limits.max_time_ms(milliseconds), ..self }
    }

    /// Adds a string to [`StopRules::sequences`](field@StopRules::sequences).
    #[must_use]
    pub fn stop_sequence(mut self, text: &str) -> Self {
        self.stop.sequences.push(text.to_owned());
        self
    }

    /// The number of alternatives to return per prompt token, if prompt log-probabilities are requested.
    pub(crate) fn wanted_of_prompt(&self) -> Option<usize> {
        self.prompt_logprobs.or(self.logprobs.filter(|_| self.echo))
    }

    /// Validates all values.
    ///
    /// # Errors
    /// [`Error::Validation`] with the name of the first invalid field.
    pub fn validate(&self) -> Result<(), Error> {
        self.sampling.validate()?;
        self.limits.validate()?;
        self.stop.validate(self.limits.max_new_tokens)?;
        if self.grammar.is_some() && self.stop.eos == EosRule::Ignore {
            let message = "not possible with a grammar, which decides where the output ends";
            return Err(Error::validation("ignore_eos", message));
        }
        Ok(())
    }

    /// Checks all token ids against `vocab_size`.
    ///
    /// # Errors
    /// [`Error::Validation`] with the name of the field.
    pub(crate) fn check_vocabulary(&self, vocab_size: usize) -> Result<(), Error> {
        let bias = self.sampling.logit_bias.iter().map(|(token, _)| *token);
        check_tokens("logit_bias", bias, vocab_size)?;
        let allowed = self.sampling.allowed_tokens.iter().flatten().copied();
        check_tokens("allowed_tokens", allowed, vocab_size)?;
        check_tokens("stop_token_ids", self.stop.token_ids.iter().copied(), vocab_size)
    }
}

fn check_tokens(
    field: &'static str,
    mut tokens: impl Iterator<Item = TokenId>,
    vocab_size: usize,
) -> Result<(), Error> {
    match tokens.find(|token| token.0 as usize >= vocab_size) {
        None => Ok(()),
        Some(TokenId(token)) => {
            let message = format!("token {token} is not in the vocabulary of {vocab_size}");
            Err(Error::validation(field, message))
        }
    }
}

#[cfg(test)]
mod tests;
