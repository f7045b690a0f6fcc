//! What is asked of an engine.

use std::sync::Arc;

use sm_batching::Priority;
use sm_cache::{SessionId, SessionMode};

use crate::sampling::LogitsFilter;
use crate::{CancelToken, Error, GenerationOptions, Prompt};

/// What is asked of an engine. Everything here concerns this request alone: requests of all kinds share steps.
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
    /// What to continue.
    pub prompt: Prompt,
    /// How.
    pub options: GenerationOptions,
    /// Choices: continuations of the prompt, which is computed once for all. Each draws random numbers of its own.
    pub n: usize,
    /// Which of them are given back.
    pub select: Select,
    /// How urgent it is.
    pub priority: Priority,
    /// Who asks. Under load, every client gets the same share.
    pub client: u64,
    /// The conversation that it belongs to.
    pub session: Option<(SessionId, SessionMode)>,
    /// Cached prefixes are shared only among requests of the same salt, so that tenants cannot learn from timing what others
    /// asked. Empty by default.
    pub salt: String,
    /// Whether its tokens may be drafted where the engine speculates. The output is the same.
    pub speculate: bool,
    /// Cancels it from elsewhere, whether it waits or runs. Several requests may share one token; the end of a request leaves it
    /// as it is.
    pub cancel: Option<CancelToken>,
    /// The caller's own filters, applied after those of the options and before the temperature.
    pub filters: Vec<Arc<dyn LogitsFilter>>,
}

/// Which of a request's choices are given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Select {
    /// All, in order.
    #[default]
    All,
    /// The one with the highest mean log-probability per token; the first of several.
    Best,
}

impl Request {
    /// A request for one choice, of normal priority, outside of any session.
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
            cancel: None,
            filters: Vec::new(),
        }
    }

    /// Sets how many choices there are.
    #[must_use]
    pub fn n(self, n: usize) -> Self {
        Self { n, ..self }
    }

    /// Sets which choices are returned.
    #[must_use]
    pub fn select(self, select: Select) -> Self {
        Self { select, ..self }
    }

    /// Sets how urgent it is.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Sets who asks.
    #[must_use]
    pub fn client(self, client: u64) -> Self {
        Self { client, ..self }
    }

    /// Makes it the next call of a conversation; see [`Session`](crate::Session) for an easier way.
    #[must_use]
    pub fn session(self, id: SessionId, mode: SessionMode) -> Self {
        Self { session: Some((id, mode)), ..self }
    }

    /// Sets among whom cached prefixes are shared.
    #[must_use]
    pub fn salt(self, salt: impl Into<String>) -> Self {
        Self { salt: salt.into(), ..self }
    }

    /// Drafts no tokens, even where the engine speculates.
    #[must_use]
    pub fn without_speculation(self) -> Self {
        Self { speculate: false, ..self }
    }

    /// Sets what cancels it from elsewhere.
    #[must_use]
    pub fn cancel(self, cancel: CancelToken) -> Self {
        Self { cancel: Some(cancel), ..self }
    }

    /// Adds a filter after the others.
    #[must_use]
    pub fn filter(mut self, filter: Arc<dyn LogitsFilter>) -> Self {
        self.filters.push(filter);
        self
    }

    /// Checks what can be checked without the model.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.options.validate()?;
        if self.n == 0 {
            return Err(Error::validation("n", "0 is not possible; use at least 1"));
        }
        match (&self.session, &self.prompt) {
            (Some(_), _) if self.n > 1 => {
                Err(Error::validation("n", "a session continues with one choice; leave n at 1"))
            }
            (None, Prompt::Append(_)) => {
                Err(Error::validation("prompt", "there is nothing to append to without a session"))
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
