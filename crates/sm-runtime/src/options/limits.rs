//! Limits on prompt, output and time.

use sm_tensor::{setters, some_setters};

use crate::Error;

/// Limits on the prompt, output and time of a request. Lengths are in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum number of generated tokens; the output then ends with `Length`. 100 by default.
    pub max_new_tokens: usize,
    /// Maximum number of prompt and generated tokens together; the tighter of the two limits applies. Unlimited by default.
    pub max_length: Option<usize>,
    /// Maximum number of prompt tokens, including the beginning-of-sequence token. Unlimited by default.
    pub max_input_tokens: Option<usize>,
    /// Context length of this request. The model's by default.
    pub max_context_tokens: Option<usize>,
    /// What happens to a prompt longer than `max_input_tokens`.
    pub long_input: LongInput,
    /// Milliseconds from submission until the request ends with its output so far. Unlimited by default.
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

/// What happens to a prompt longer than [`Limits::max_input_tokens`](field@Limits::max_input_tokens).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LongInput {
    /// The request fails with [`Error::ResourceLimit`].
    #[default]
    Reject,
    /// Keeps the last tokens, and the beginning-of-sequence token if the prompt has one.
    KeepTail,
}

impl Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(max_new_tokens: usize, long_input: LongInput);
    some_setters!(
        max_length: usize,
        max_input_tokens: usize,
        max_context_tokens: usize,
        max_time_ms: u64,
    );

    pub(super) fn validate(&self) -> Result<(), Error> {
        let bounds = [
            ("max_new_tokens", Some(self.max_new_tokens)),
            ("max_length", self.max_length),
            ("max_input_tokens", self.max_input_tokens),
            ("max_context_tokens", self.max_context_tokens),
        ];
        if let Some((field, _)) = bounds.into_iter().find(|(_, value)| *value == Some(0)) {
            return Err(Error::validation(field, "0 is not allowed; use at least 1"));
        }
        if self.max_time_ms == Some(0) {
            return Err(Error::validation("max_time_ms", "0 is not allowed; omit it for no limit"));
        }
        match (self.max_input_tokens, self.max_context_tokens) {
            (Some(input), Some(context)) if input > context => {
                let message = format!("{input} exceeds max_context_tokens = {context}; lower it");
                Err(Error::validation("max_input_tokens", message))
            }
            _ => Ok(()),
        }
    }
}
