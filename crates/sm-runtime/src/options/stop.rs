//! What ends the output before its length does.

use sm_tensor::TokenId;

/// What ends the output before its length does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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

impl StopRules {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets tokens that end the output.
    #[must_use]
    pub fn token_ids(self, token_ids: Vec<TokenId>) -> Self {
        Self { token_ids, ..self }
    }

    /// Sets strings that end the output.
    #[must_use]
    pub fn sequences<S: Into<String>>(self, sequences: impl IntoIterator<Item = S>) -> Self {
        Self { sequences: sequences.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets whether a matched stop string stays in the text.
    #[must_use]
    pub fn matched(self, matched: MatchedStop) -> Self {
        Self { matched, ..self }
    }

    /// Sets whether the model's end-of-sequence tokens end the output.
    #[must_use]
    pub fn eos(self, eos: EosRule) -> Self {
        Self { eos, ..self }
    }

    /// Sets before how many generated tokens nothing stops.
    #[must_use]
    pub fn min_new_tokens(self, min_new_tokens: usize) -> Self {
        Self { min_new_tokens, ..self }
    }
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
