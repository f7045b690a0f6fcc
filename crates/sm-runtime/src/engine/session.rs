//! Conversations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use sm_cache::{CacheError, SessionId, SessionMode};

use super::active_request::Delivery;
use super::engine_loop::{Core, Message};
use super::{Engine, Extra, RequestHandle, TokenStream};
use crate::{Completion, Error, GenerationOptions, Prompt, Request};

/// A conversation that an engine remembers by its name. Two of one name are one conversation, which outlives them; a private
/// one ([`Engine::private_session`]) is forgotten with its last handle.
///
/// A call on it waits for nobody: while another one runs, it fails with an error that says so. So does the next call that
/// would append to what an engine with too many sessions had to forget; [`Session::forget`] begins anew.
#[derive(Clone, Debug)]
pub struct Session {
    engine: Engine,
    id: SessionId,
    mode: SessionMode,
    /// Of a private one.
    owner: Option<Arc<Owner>>,
    /// Whether a call on this handle, or a clone of it, has added something.
    has_spoken: Arc<AtomicBool>,
}

/// Whoever may still use a private session: its handles and its requests.
#[derive(Debug)]
pub(crate) struct Owner {
    /// Not the engine itself, which must not end on its own thread.
    messages: Sender<Message>,
    id: SessionId,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let id = self.id.clone();
        let forget = move |core: &mut Core| {
            // It was never begun, or has been evicted.
            let _ = core.cache.drop_session(&id);
        };
        // An engine that is gone has forgotten it.
        let _ = self.messages.send(Message::Call(Box::new(forget)));
    }
}

impl Session {
    pub(super) fn new(engine: Engine, name: &str, mode: SessionMode) -> Result<Self, Error> {
        let (id, has_spoken) = (SessionId::new(name)?, Arc::default());
        Ok(Self { engine, id, mode, owner: None, has_spoken })
    }

    pub(super) fn private(engine: Engine, mode: SessionMode) -> Self {
        let id = SessionId::new_id();
        let owner = Arc::new(Owner { messages: engine.0.messages.clone(), id: id.clone() });
        Self { engine, id, mode, owner: Some(owner), has_spoken: Arc::default() }
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
        self.engine.send(self.request(prompt, options), Delivery::Whole, self.extra())
    }

    /// Puts the next call into the queue and gives its tokens as they come. What was given stays said, even if the stream
    /// is dropped.
    ///
    /// # Errors
    /// As [`Engine::stream`].
    pub fn stream(&self, prompt: Prompt, options: GenerationOptions) -> Result<TokenStream, Error> {
        let handle = self.engine.send(self.request(prompt, options), Delivery::Stream, self.extra())?;
        Ok(TokenStream::new(handle))
    }

    /// Forgets the conversation, if there is one: the next call begins it anew.
    ///
    /// # Errors
    /// If a call uses it; [`Error::ShutDown`].
    pub fn forget(&self) -> Result<(), Error> {
        let id = self.id.clone();
        match self.engine.call(move |core| core.cache.drop_session(&id))? {
            Ok(_) | Err(CacheError::UnknownSession { .. }) => {
                self.has_spoken.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Its name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    fn extra(&self) -> Extra {
        let has_spoken = Some(Arc::clone(&self.has_spoken));
        Extra { owner: self.owner.clone(), has_spoken, ..Extra::default() }
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
