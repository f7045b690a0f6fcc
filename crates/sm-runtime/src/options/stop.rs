//! Stop conditions.

use sm_tensor::{TokenId, setters};

use super::sampling::check_texts;
use crate::Error;

/// Maximum number of stop strings, each of which is compared with every new character, and their length in bytes.
const MAX_SEQUENCES: usize = 1_000;
const MAX_SEQUENCE_BYTES: usize = 1_000;

/// Conditions that end the output before its length limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopRules {
    /// Tokens that end the output with `Stop`. Their text is not included.
    pub token_ids: Vec<TokenId>,
    /// Strings that end the output with `StopSequence`, also across token boundaries. One that is the written form of a special
    /// token ends it at that token. At most 1,000 of up to 1,000 bytes.
    pub sequences: Vec<String>,
    /// Whether a matched stop string stays in the text.
    pub matched: MatchedStop,
    /// Whether the model's end-of-sequence tokens end the output with `Eos`.
    pub eos: EosRule,
    /// Minimum number of generated tokens. Until then, stop and end tokens cannot be sampled, and strings do not match.
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
    /// They end the output.
    #[default]
    Stop,
    /// They are ordinary tokens without text.
    Ignore,
}

impl StopRules {
    /// The defaults: only an end-of-sequence token ends the output.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(
        token_ids: Vec<TokenId>,
        matched: MatchedStop,
        eos: EosRule,
        min_new_tokens: usize,
    );

    /// Sets [`sequences`](field@Self::sequences).
    #[must_use]
    pub fn sequences<S: Into<String>>(self, sequences: impl IntoIterator<Item = S>) -> Self {
        Self { sequences: sequences.into_iter().map(Into::into).collect(), ..self }
    }

    pub(super) fn validate(&self, max_new_tokens: usize) -> Result<(), Error> {
        check_texts("stop", &self.sequences, MAX_SEQUENCES, MAX_SEQUENCE_BYTES)?;
        if self.min_new_tokens > max_new_tokens {
            let min = self.min_new_tokens;
            let message = format!("{min} exceeds max_new_tokens = {max_new_tokens}; lower it");
            return Err(Error::validation("min_new_tokens", message));
        }
        Ok(())
    }
}
