//! How long the prompt, the output and the wait of one request may be.

use crate::Error;

/// How long the prompt, the output and the wait of one request may be. Lengths are in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

impl Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many tokens may be generated.
    #[must_use]
    pub fn max_new_tokens(self, max_new_tokens: usize) -> Self {
        Self { max_new_tokens, ..self }
    }

    /// Sets how many tokens prompt and output may have together.
    #[must_use]
    pub fn max_length(self, max_length: usize) -> Self {
        Self { max_length: Some(max_length), ..self }
    }

    /// Sets how many tokens the prompt may have.
    #[must_use]
    pub fn max_input_tokens(self, max_input_tokens: usize) -> Self {
        Self { max_input_tokens: Some(max_input_tokens), ..self }
    }

    /// Narrows the model's context.
    #[must_use]
    pub fn max_context_tokens(self, max_context_tokens: usize) -> Self {
        Self { max_context_tokens: Some(max_context_tokens), ..self }
    }

    /// Sets what happens to a prompt above `max_input_tokens`.
    #[must_use]
    pub fn long_input(self, long_input: LongInput) -> Self {
        Self { long_input, ..self }
    }

    /// Sets the time limit, from the submission on.
    #[must_use]
    pub fn max_time_ms(self, max_time_ms: u64) -> Self {
        Self { max_time_ms: Some(max_time_ms), ..self }
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
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

/// What happens to a prompt above [`Limits::max_input_tokens`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LongInput {
    /// The request fails with [`Error::ResourceLimit`](crate::Error::ResourceLimit).
    #[default]
    Reject,
    /// The last tokens are kept, behind the beginning-of-sequence token if the prompt has one.
    KeepTail,
}
