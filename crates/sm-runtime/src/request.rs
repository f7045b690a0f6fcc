//! What is asked of an engine.

use std::sync::Arc;

use sm_batching::Priority;
use sm_cache::{SessionId, SessionMode};

use crate::sampling::LogitsFilter;
use crate::{CancelToken, Error, GenerationOptions, Prompt};

/// What is asked of an engine. Everything here is of this request alone: requests of all kinds share steps.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to continue.
    pub prompt: Prompt,
    /// How.
    pub options: GenerationOptions,
    /// Continuations of the prompt, which is computed once for all. Choice `i` draws numbers of its own.
    pub n: usize,
    /// Which of them are given back.
    pub select: Select,
    /// How urgent it is.
    pub priority: Priority,
    /// Who asks: while there is not enough for all, keys are served alike.
    pub key: u64,
    /// The conversation that it belongs to.
    pub session: Option<(SessionId, SessionMode)>,
    /// Computed prefixes are shared only among requests of the same salt; empty for all that need no secrecy.
    pub salt: String,
    /// Whether its tokens may be guessed where the engine speculates. The output is the same.
    pub speculate: bool,
    /// What ends it from elsewhere, whether it waits or runs, beside its handle. An engine looks at it between steps, and before the
    /// next batch begins if it is idle. Several requests may share one; the end of a request leaves it as it is.
    pub cancel: Option<CancelToken>,
    /// Filters of the caller's own, applied behind those of the options and before the temperature.
    pub filters: Vec<Arc<dyn LogitsFilter>>,
}

/// Which of a request's choices are given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Select {
    /// All, in order.
    #[default]
    All,
    /// The one with the highest mean log-probability per token; the first of several.
    Best,
}

impl Request {
    /// A request for one continuation, of normal priority, outside of any session.
    pub fn new(prompt: Prompt, options: GenerationOptions) -> Self {
        Self {
            prompt,
            options,
            n: 1,
            select: Select::All,
            priority: Priority::Normal,
            key: 0,
            session: None,
            salt: String::new(),
            speculate: true,
            cancel: None,
            filters: Vec::new(),
        }
    }

    /// Checks what can be checked without the model.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        self.options.validate()?;
        if self.n == 0 {
            return Err(Error::validation("n", "0 is not possible; it must be at least 1"));
        }
        match (&self.session, &self.prompt) {
            (Some(_), _) if self.n > 1 => {
                Err(Error::validation("n", "a session goes on with one continuation; leave n at 1"))
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
