//! An engine whose model is loaded in the background.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::Engine;
use super::reply::{Reply, reply};
use crate::{CancelToken, Error, LoadError};

/// An engine whose model is being loaded on a thread of its own: a future of the engine. Dropping it cancels the load.
#[derive(Debug)]
#[must_use = "dropping it cancels the load"]
pub struct Loading {
    /// `None` once it was waited for.
    reply: Option<Reply<Result<Engine, Error>>>,
    cancel: CancelToken,
}

impl Loading {
    /// Runs `load` on a thread. `cancel` is the token that `load` obeys.
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

    /// Cancels the load, which ends with [`Error::Cancelled`] within some rows of a matrix.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Blocks until the engine has started.
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

/// A thread that panicked gave no outcome.
fn outcome(loaded: Option<Result<Engine, Error>>) -> Result<Engine, Error> {
    loaded.unwrap_or_else(|| Err(LoadError::Panicked.into()))
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
