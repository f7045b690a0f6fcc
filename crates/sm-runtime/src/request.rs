//! Requests to an engine.

use std::sync::Arc;

use sm_batching::Priority;
use sm_cache::{SessionId, SessionMode};

use crate::sampling::LogitsFilter;
use crate::{CancelToken, Error, GenerationOptions, Pooling, Prompt};

/// A request to an engine. All settings apply to this request alone; requests of all kinds share steps.
///
/// ```
/// use sm_runtime::{CancelToken, GenerationOptions, Priority, Prompt, Request, Select};
///
/// let cancel = CancelToken::new();
/// let request = Request::new(Prompt::Text("Once upon a time".into()), GenerationOptions::new())
///     .n(4)
///     .select(Select::Best)
///     .priority(Priority::High)
///     .cancel(cancel.clone());
/// # assert_eq!(request.n, 4);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The prompt.
    pub prompt: Prompt,
    /// Generation options.
    pub options: GenerationOptions,
    /// Number of choices. The prompt is computed once; each choice samples with its own noise.
    pub n: usize,
    /// Which choices to return.
    pub select: Select,
    /// Scheduling priority.
    pub priority: Priority,
    /// The client, for fair scheduling: under load, every client gets the same share.
    pub client: u64,
    /// The conversation it belongs to.
    pub session: Option<(SessionId, SessionMode)>,
    /// Cached prefixes are only shared between requests with the same salt, so that tenants cannot infer each other's
    /// prompts from timing. Empty by default.
    pub salt: String,
    /// Whether speculative decoding may be used, if the engine has it enabled. Does not change the output.
    pub speculate: bool,
    /// Whether a stream also has events that tell how far the prompt is ([`TokenEvent::prefill`](crate::TokenEvent::prefill)).
    pub reports_prefill: bool,
    /// Cancels the request, queued or running. Requests may share a token; a request's end does not affect it.
    pub cancel: Option<CancelToken>,
    /// Custom logits filters, applied after those of the options and before the temperature.
    pub filters: Vec<Arc<dyn LogitsFilter>>,
    /// What becomes of the prompt's hidden states, if it is embedded instead of continued.
    pub(crate) pooling: Option<Pooling>,
}

/// Which of a request's choices to return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Select {
    /// All, in order.
    #[default]
    All,
    /// The one with the highest mean log-probability per token; ties go to the first.
    Best,
}

impl Request {
    /// A request for one choice, with normal priority and no session.
    pub fn new(prompt: Prompt, options: GenerationOptions) -> Self {
        Self {
            prompt,
            options,
            n: 1,
            select: Select::All,
            priority: Priority::Normal,
            client: 0,
            session: None,
            salt: String::new(),
            speculate: true,
            reports_prefill: false,
            cancel: None,
            filters: Vec::new(),
            pooling: None,
        }
    }

    /// Sets the number of choices.
    #[must_use]
    pub fn n(self, n: usize) -> Self {
        Self { n, ..self }
    }

    /// Sets which choices are returned.
    #[must_use]
    pub fn select(self, select: Select) -> Self {
        Self { select, ..self }
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Sets the client.
    #[must_use]
    pub fn client(self, client: u64) -> Self {
        Self { client, ..self }
    }

    /// Makes it the next call of a conversation; [`Session`](crate::Session) is the easier way.
    #[must_use]
    pub fn session(self, id: SessionId, mode: SessionMode) -> Self {
        Self { session: Some((id, mode)), ..self }
    }

    /// Sets the salt that scopes prefix sharing.
    #[must_use]
    pub fn salt(self, salt: impl Into<String>) -> Self {
        Self { salt: salt.into(), ..self }
    }

    /// Disables speculative decoding for this request.
    #[must_use]
    pub fn without_speculation(self) -> Self {
        Self { speculate: false, ..self }
    }

    /// Adds events to a stream that tell how far the prompt is: one when it starts, and one for each step that computes some of it.
    #[must_use]
    pub fn report_prefill(self) -> Self {
        Self { reports_prefill: true, ..self }
    }

    /// Sets a cancel token.
    #[must_use]
    pub fn cancel(self, cancel: CancelToken) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    /// Appends a filter.
    #[must_use]
    pub fn filter(mut self, filter: Arc<dyn LogitsFilter>) -> Self {
        self.filters.push(filter);
        self
    }

    /// Validates everything that does not depend on the model.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.options.validate()?;
        if self.n == 0 {
            return Err(Error::validation("n", "0 is not allowed; use at least 1"));
        }
        match (&self.session, &self.prompt) {
            (Some(_), _) if self.n > 1 => {
                Err(Error::validation("n", "a session supports only one choice; leave n at 1"))
            }
            (None, Prompt::Append(_)) => {
                Err(Error::validation("prompt", "nothing to append to; use a session"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let base = || Request::new(Prompt::Text("a".into()), GenerationOptions::default());
        base().validate().unwrap();
        let session = || Some((SessionId::new_id(), SessionMode::Append));
        for (request, field) in [
            (Request { n: 0, ..base() }, "n"),
            (Request { n: 2, session: session(), ..base() }, "n"),
            (Request { prompt: Prompt::Append("b".into()), ..base() }, "prompt"),
        ] {
            match request.validate() {
                Err(Error::Validation { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
