//! Handles that keep a model loaded.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::registry::{ModelUse, Outcome};
use crate::engine::Delivery;
use crate::{EmbedHandle, Engine, Error, Pooling, Prompt, Request, RequestHandle, TokenStream};

/// A loaded model in use. Dereferences to its [`Engine`], and keeps the model loaded until it is dropped and all requests
/// submitted through it are over.
///
/// Clones of the engine do not: they fail with [`Error::ShutDown`] once the model is unloaded.
#[derive(Clone, Debug)]
pub struct ModelHandle {
    engine: Engine,
    model_use: Arc<ModelUse>,
}

impl ModelHandle {
    /// The model's name, even if acquired by an alias.
    pub fn name(&self) -> &str {
        &self.model_use.name
    }

    /// As [`Engine::submit`]. The model stays loaded until the request is over.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn submit(&self, request: Request) -> Result<RequestHandle, Error> {
        let keep_alive = Arc::clone(&self.model_use) as _;
        self.engine.submit_keeping(request, Delivery::Whole, keep_alive)
    }

    /// As [`Engine::stream`]. The model stays loaded until the request is over.
    ///
    /// # Errors
    /// As [`Engine::stream`].
    pub fn stream(&self, request: Request) -> Result<TokenStream, Error> {
        let keep_alive = Arc::clone(&self.model_use) as _;
        self.engine.submit_keeping(request, Delivery::Stream, keep_alive).map(TokenStream::new)
    }

    /// As [`Engine::embed`]. The model stays loaded until the request is over.
    ///
    /// # Errors
    /// As [`Engine::embed`].
    pub fn embed(&self, prompt: Prompt, pooling: Pooling) -> Result<EmbedHandle, Error> {
        self.submit(pooling.request(prompt)).map(EmbedHandle::new)
    }
}

impl Deref for ModelHandle {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

/// A future of a model's handle. Dropping it does not cancel the load, which others may be waiting for.
#[derive(Debug)]
#[must_use = "the model is released when this is dropped"]
pub struct AcquireModel {
    pub(super) outcome: Outcome,
    /// Moved into the handle.
    pub(super) model_use: Option<ModelUse>,
}

impl AcquireModel {
    /// Blocks until the model is loaded.
    ///
    /// # Errors
    /// As [`Models::get`](crate::Models::get).
    pub fn wait(mut self) -> Result<ModelHandle, Error> {
        if let Some(model_use) = &self.model_use {
            model_use.wait_until(|| self.outcome.get().is_some());
        }
        self.take().unwrap_or(Err(Error::ShutDown))
    }

    /// The handle, if loading has finished.
    fn take(&mut self) -> Option<Result<ModelHandle, Error>> {
        let outcome = self.outcome.get()?;
        let model_use = self.model_use.take()?;
        Some(match outcome {
            Ok(engine) => Ok(ModelHandle { engine: engine.clone(), model_use: Arc::new(model_use) }),
            Err(error) => Err(shared(&model_use.name, error)),
        })
    }
}

/// The error of a load, for each caller waiting for it.
fn shared(name: &str, error: &Arc<Error>) -> Error {
    match &**error {
        Error::ShutDown => Error::ShutDown,
        Error::ModelsInUse { needed, free, limit } => {
            Error::ModelsInUse { needed: *needed, free: *free, limit: *limit }
        }
        _ => Error::ModelLoad { name: name.to_owned(), source: Arc::clone(error) },
    }
}

impl Future for AcquireModel {
    type Output = Result<ModelHandle, Error>;

    /// # Panics
    /// If polled after completion.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(model_use) = &self.model_use else { panic!("`AcquireModel` polled after completion") };
        if !model_use.wake_unless(|| self.outcome.get().is_some(), context.waker()) {
            return Poll::Pending;
        }
        self.take().map_or(Poll::Pending, Poll::Ready)
    }
}
