//! Conversations.

use sm_cache::{SessionId, SessionMode};

use super::{Engine, RequestHandle, TokenStream};
use crate::{Completion, Error, GenerationOptions, Prompt, Request};

/// A conversation that an engine remembers by its name. Two of one name are one conversation.
///
/// A call on it waits for nobody: while another one runs, it fails with an error that says so.
#[derive(Clone, Debug)]
pub struct Session {
    engine: Engine,
    id: SessionId,
    mode: SessionMode,
}

impl Session {
    pub(super) fn new(engine: Engine, name: &str, mode: SessionMode) -> Result<Self, Error> {
        Ok(Self { engine, id: SessionId::new(name)?, mode })
    }

    /// Continues the conversation to the end of the next answer. Blocks.
    ///
    /// # Errors
    /// As [`Engine::generate`]; the conversation is then what it was before.
    pub fn generate(&self, text: &str, options: &GenerationOptions) -> Result<Completion, Error> {
        let mut completions = self.submit(self.prompt(text), options.clone())?.wait()?;
        Ok(completions.swap_remove(0))
    }

    /// Puts the next call into the queue.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn submit(&self, prompt: Prompt, options: GenerationOptions) -> Result<RequestHandle, Error> {
        self.engine.submit(self.request(prompt, options))
    }

    /// Puts the next call into the queue and gives its tokens as they come. What was given stays said, even if the stream
    /// is dropped.
    ///
    /// # Errors
    /// As [`Engine::stream`].
    pub fn stream(&self, prompt: Prompt, options: GenerationOptions) -> Result<TokenStream, Error> {
        self.engine.stream(self.request(prompt, options))
    }

    /// Forgets the conversation.
    ///
    /// # Errors
    /// If there is none of this name or a call uses it; [`Error::ShutDown`].
    pub fn forget(&self) -> Result<(), Error> {
        let id = self.id.clone();
        Ok(self.engine.call(move |core| core.cache.drop_session(&id))??)
    }

    /// Its name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    fn prompt(&self, text: &str) -> Prompt {
        match self.mode {
            SessionMode::Append => Prompt::Append(text.to_owned()),
            SessionMode::Prefix => Prompt::Text(text.to_owned()),
        }
    }

    fn request(&self, prompt: Prompt, options: GenerationOptions) -> Request {
        Request { session: Some((self.id.clone(), self.mode)), ..Request::new(prompt, options) }
    }
}
