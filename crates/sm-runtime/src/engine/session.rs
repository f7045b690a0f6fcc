//! Conversations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use sm_cache::{CacheError, SessionId, SessionMode};

use super::engine_loop::{Core, Message};
use super::request_params::Delivery;
use super::{Engine, Extra, RequestHandle, TokenStream};
use crate::{Completion, Error, GenerationOptions, Prompt, Request};

/// The name of a conversation, and what each call contains.
///
/// ```no_run
/// # use sm_runtime::{Engine, ModelRef, SessionMode, SessionOptions};
/// # let engine = Engine::builder().load(ModelRef::Demo)?;
/// let alice = engine.session("alice")?;
/// let transcript = engine.session(SessionOptions::named("bob").mode(SessionMode::Prefix))?;
/// let buffers = engine.session(SessionOptions::private())?;
/// # Ok::<(), sm_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Sessions with the same name share one conversation, which the engine keeps without a handle. A session without a
    /// name is private: only its handles reach it, and it is freed when the last handle is dropped and its calls are
    /// over.
    pub name: Option<String>,
    /// Whether a call contains only new text (the default), or the whole conversation so far.
    pub mode: SessionMode,
}

impl Default for SessionOptions {
    /// Same as [`SessionOptions::private`].
    fn default() -> Self {
        Self { name: None, mode: SessionMode::Append }
    }
}

impl SessionOptions {
    /// A private conversation.
    pub fn private() -> Self {
        Self::default()
    }

    /// A conversation that the engine keeps by name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Sets what each call contains.
    #[must_use]
    pub fn mode(self, mode: SessionMode) -> Self {
        Self { mode, ..self }
    }
}

impl From<&str> for SessionOptions {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl From<String> for SessionOptions {
    fn from(name: String) -> Self {
        Self::named(name)
    }
}

/// A conversation with an engine, made by [`Engine::session`].
///
/// Calls on one conversation do not queue: a call fails while another is running. Appending also fails if the engine
/// had to evict the conversation because there were too many; [`Session::forget`] starts over.
#[derive(Clone, Debug)]
pub struct Session {
    engine: Engine,
    id: SessionId,
    mode: SessionMode,
    /// Set for private sessions.
    owner: Option<Arc<Owner>>,
    /// Whether a call on this handle or a clone has succeeded.
    has_spoken: Arc<AtomicBool>,
}

/// Shared by all that may still use a private session: its handles and requests.
#[derive(Debug)]
pub(crate) struct Owner {
    /// A sender rather than the engine, which must not be dropped on its own thread.
    messages: Sender<Message>,
    id: SessionId,
}

impl Drop for Owner {
    fn drop(&mut self) {
        let id = self.id.clone();
        let forget = move |core: &mut Core| {
            // Fails if the session was never used or has been evicted.
            let _ = core.cache.drop_session(&id);
        };
        // If the engine is gone, so is the session.
        let _ = self.messages.send(Message::Call(Box::new(forget)));
    }
}

impl Session {
    pub(super) fn new(engine: Engine, options: SessionOptions) -> Result<Self, Error> {
        let SessionOptions { name, mode } = options;
        engine.check_session(mode)?;
        let (id, owner) = match name {
            Some(name) => (SessionId::new(&name)?, None),
            None => {
                let id = SessionId::new_id();
                let owner = Owner { messages: engine.0.messages.clone(), id: id.clone() };
                (id, Some(Arc::new(owner)))
            }
        };
        Ok(Self { engine, id, mode, owner, has_spoken: Arc::default() })
    }

    /// Generates the next answer. Blocks.
    ///
    /// # Errors
    /// As [`Engine::generate`]; the conversation is then unchanged.
    pub fn generate(&self, text: &str, options: &GenerationOptions) -> Result<Completion, Error> {
        let mut completions = self.submit(self.prompt(text), options.clone())?.wait()?;
        Ok(completions.swap_remove(0))
    }

    /// Queues the next call.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn submit(&self, prompt: Prompt, options: GenerationOptions) -> Result<RequestHandle, Error> {
        self.engine.send(self.request(prompt, options), Delivery::Whole, self.extra())
    }

    /// Queues the next call and streams its tokens. Streamed text stays in the conversation even if the stream is
    /// dropped.
    ///
    /// # Errors
    /// As [`Engine::stream`].
    pub fn stream(&self, prompt: Prompt, options: GenerationOptions) -> Result<TokenStream, Error> {
        let handle = self.engine.send(self.request(prompt, options), Delivery::Stream, self.extra())?;
        Ok(TokenStream::new(handle))
    }

    /// Forgets the conversation, if any; the next call starts a new one. Blocks until the current step is over.
    ///
    /// # Errors
    /// If a call is running; [`Error::ShutDown`], [`Error::EngineThread`].
    pub fn forget(&self) -> Result<(), Error> {
        self.engine.call(self.forgetting())?
    }

    /// As [`Session::forget`], without blocking. It takes effect whether or not the future is awaited.
    ///
    /// # Errors
    /// As [`Session::forget`].
    pub fn forget_async(&self) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let reply = self.engine.call_async(self.forgetting());
        async { reply.await? }
    }

    fn forgetting(&self) -> impl FnOnce(&mut Core) -> Result<(), Error> + Send + use<> {
        let id = self.id.clone();
        let has_spoken = Arc::clone(&self.has_spoken);
        move |core| match core.cache.drop_session(&id) {
            Ok(_) | Err(CacheError::UnknownSession { .. }) => {
                has_spoken.store(false, Ordering::Relaxed);
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
