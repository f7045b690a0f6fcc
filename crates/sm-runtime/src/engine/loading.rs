//! Loading without waiting for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::Engine;
use super::reply::{Reply, reply};
use crate::{CancelToken, Error, LoadError};

/// An engine whose model is being loaded on a thread of its own: a future of it. Dropping it cancels the loading.
#[derive(Debug)]
#[must_use = "dropping it cancels the loading"]
pub struct Loading {
    /// `None` once it was waited for.
    reply: Option<Reply<Result<Engine, Error>>>,
    cancel: CancelToken,
}

impl Loading {
    /// Runs `load` on a thread until it is done or `cancel` ends it.
    pub(super) fn spawn(
        load: impl FnOnce() -> Result<Engine, Error> + Send + 'static,
        cancel: CancelToken,
    ) -> Result<Self, Error> {
        let (replier, reply) = reply();
        let name = "sm-load";
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || replier.give(load()));
        spawned.map_err(|source| LoadError::Thread { name, source })?;
        Ok(Self { reply: Some(reply), cancel })
    }

    /// Ends the loading within a few rows of a matrix; it fails with [`Error::Cancelled`] then.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Blocks until the engine is there.
    ///
    /// # Errors
    /// As [`EngineBuilder::load`](super::EngineBuilder::load); [`Error::Cancelled`].
    pub fn wait(mut self) -> Result<Engine, Error> {
        outcome(self.reply.take().and_then(Reply::wait))
    }
}

impl Future for Loading {
    type Output = Result<Engine, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.reply {
            Some(reply) => Pin::new(reply).poll(context).map(outcome),
            None => Poll::Ready(outcome(None)),
        }
    }
}

/// A thread that panicked has given nothing.
fn outcome(loaded: Option<Result<Engine, Error>>) -> Result<Engine, Error> {
    loaded.unwrap_or_else(|| Err(LoadError::Panicked.into()))
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
