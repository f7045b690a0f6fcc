//! Loads an engine's model in the background.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::Engine;
use super::reply::{Reply, reply};
use crate::{CancelToken, Error, LoadError};

/// A future of an engine whose model is loading on a background thread. Dropping it cancels the load.
#[derive(Debug)]
#[must_use = "dropping it cancels the load"]
pub struct Loading {
    /// `None` once waited for.
    reply: Option<Reply<Result<Engine, Error>>>,
    cancel: CancelToken,
}

impl Loading {
    /// Runs `load` on a new thread. `cancel` is the token that `load` observes.
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

    /// Cancels the load, which ends with [`Error::Cancelled`] within a few matrix rows.
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

/// Maps a missing outcome to [`LoadError::Panicked`]: only a panic leaves none.
fn outcome(loaded: Option<Result<Engine, Error>>) -> Result<Engine, Error> {
    loaded.unwrap_or_else(|| Err(LoadError::Panicked.into()))
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
