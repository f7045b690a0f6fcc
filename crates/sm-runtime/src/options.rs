//! The options of a generation, and the checks that run before any work.

mod limits;
mod sampling;
mod stop;

use sm_tensor::{TokenId, setters, some_setters};

pub use limits::{Limits, LongInput};
pub use sampling::SamplingOptions;
pub use stop::{EosRule, MatchedStop, StopRules};

use crate::{Error, Grammar};

/// The options of a generation.
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
    /// How long the prompt, the output and the wait may be.
    pub limits: Limits,
    /// What ends the output early.
    pub stop: StopRules,
    /// What the output must match. It ends where the grammar ends. By default anything.
    pub grammar: Option<Grammar>,
    /// Whether the text begins with the prompt, and `logprobs` covers the prompt too. Off by default.
    pub echo: bool,
    /// `Some(n)` returns the log-probability of each generated token and of the `n` most likely ones, before any filter.
    pub logprobs: Option<usize>,
    /// `Some(n)` returns the same for each token of the prompt after the first. The whole prompt is computed then, whatever is
    /// cached.
    pub prompt_logprobs: Option<usize>,
}

impl GenerationOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Options that always pick the most likely token, without filters or penalties.
    pub fn greedy() -> Self {
        Self::new().sampling(SamplingOptions::greedy())
    }

    setters!(sampling: SamplingOptions, limits: Limits, stop: StopRules);
    some_setters!(grammar: Grammar, logprobs: usize, prompt_logprobs: usize);

    /// Begins the text with the prompt.
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

    /// The number of alternatives to return for each token of the prompt, if its log-probabilities are wanted.
    pub(crate) fn wanted_of_prompt(&self) -> Option<usize> {
        self.prompt_logprobs.or(self.logprobs.filter(|_| self.echo))
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Validation`] with the name of the first field whose value is impossible.
    pub fn validate(&self) -> Result<(), Error> {
        self.sampling.validate()?;
        self.limits.validate()?;
        self.stop.validate(self.limits.max_new_tokens)?;
        if self.grammar.is_some() && self.stop.eos == EosRule::Ignore {
            let message = "with a grammar, the output ends where the grammar does; do not ignore end-of-sequence tokens";
            return Err(Error::validation("ignore_eos", message));
        }
        Ok(())
    }

    /// Checks that every token named is in a vocabulary of `vocab_size`.
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
