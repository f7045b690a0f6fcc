//! What a caller may ask of a generation: defaults, and the checks that run before any work.
//!
//! Fields are public to read and to set; the methods of the same names build a value in one expression:
//!
//! ```
//! use sm_runtime::{GenerationOptions, Limits, SamplingOptions};
//!
//! let options = GenerationOptions::new()
//!     .sampling(SamplingOptions::new().temperature(0.2).seed(7))
//!     .limits(Limits::new().max_new_tokens(50).max_time_ms(10_000))
//!     .logprobs(5);
//! assert_eq!(options.sampling.seed, Some(7));
//! ```

mod limits;
mod sampling;
mod stop;

use sm_tensor::TokenId;

use crate::{Error, Grammar};

pub use limits::{Limits, LongInput};
pub use sampling::SamplingOptions;
pub use stop::{EosRule, MatchedStop, StopRules};

/// Everything that shapes one generation.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GenerationOptions {
    /// How the next token is chosen.
    pub sampling: SamplingOptions,
    /// How long the prompt, the output and the wait may be.
    pub limits: Limits,
    /// What ends the output early.
    pub stop: StopRules,
    /// What the text has to match; the output ends where the match is complete. Anything by default.
    pub grammar: Option<Grammar>,
    /// Whether the text begins with that of the prompt; `logprobs` then cover the tokens of the prompt too. Off by default.
    pub echo: bool,
    /// `Some(n)` returns the raw log-probability of each generated token and of the `n` likeliest alternatives.
    pub logprobs: Option<usize>,
    /// `Some(n)` returns the same of each token of the prompt after the first; nothing of it is taken from a cache then.
    pub prompt_logprobs: Option<usize>,
}

impl GenerationOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The likeliest token each time, and otherwise the defaults.
    pub fn greedy() -> Self {
        Self::new().sampling(SamplingOptions::greedy())
    }

    /// Sets how the next token is chosen.
    #[must_use]
    pub fn sampling(self, sampling: SamplingOptions) -> Self {
        Self { sampling, ..self }
    }

    /// Sets how long the prompt, the output and the wait may be.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets what ends the output early.
    #[must_use]
    pub fn stop(self, stop: StopRules) -> Self {
        Self { stop, ..self }
    }

    /// Sets what the text has to match.
    #[must_use]
    pub fn grammar(self, grammar: Grammar) -> Self {
        Self { grammar: Some(grammar), ..self }
    }

    /// Begins the text with that of the prompt.
    #[must_use]
    pub fn echo(self) -> Self {
        Self { echo: true, ..self }
    }

    /// Returns the log-probability of each generated token and of the `n` likeliest alternatives.
    #[must_use]
    pub fn logprobs(self, n: usize) -> Self {
        Self { logprobs: Some(n), ..self }
    }

    /// Returns the log-probability of each token of the prompt after the first, and of the `n` likeliest alternatives.
    #[must_use]
    pub fn prompt_logprobs(self, n: usize) -> Self {
        Self { prompt_logprobs: Some(n), ..self }
    }

    /// Sets [`Limits::max_new_tokens`].
    #[must_use]
    pub fn max_new_tokens(mut self, n: usize) -> Self {
        self.limits.max_new_tokens = n;
        self
    }

    /// Sets [`SamplingOptions::seed`].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.sampling.seed = Some(seed);
        self
    }

    /// The number of alternatives that are wanted of each token of the prompt, if its log-probabilities are.
    pub(crate) fn wanted_of_prompt(&self) -> Option<usize> {
        self.prompt_logprobs.or(self.logprobs.filter(|_| self.echo))
    }

    /// Checks everything that can be checked without a model.
    ///
    /// # Errors
    /// [`Error::Validation`] with the name of the first impossible field.
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
            let message = "with a grammar, the output ends where the grammar does; do not ignore end-of-sequence tokens";
            return Err(Error::validation("ignore_eos", message));
        }
        Ok(())
    }

    /// Checks that every token it names is one of `vocab_size`.
    pub(crate) fn check_vocabulary(&self, vocab_size: usize) -> Result<(), Error> {
        let check = |field, mut tokens: Box<dyn Iterator<Item = TokenId> + '_>| match tokens
            .find(|token| token.0 as usize >= vocab_size)
        {
            None => Ok(()),
            Some(TokenId(token)) => {
                let message = format!("token {token} is not in the vocabulary of {vocab_size}");
                Err(Error::validation(field, message))
            }
        };
        check("logit_bias", Box::new(self.sampling.logit_bias.iter().map(|(token, _)| *token)))?;
        check("allowed_tokens", Box::new(self.sampling.allowed_tokens.iter().flatten().copied()))?;
        check("stop_token_ids", Box::new(self.stop.token_ids.iter().copied()))
    }
}

#[cfg(test)]
mod tests;
