//! An engine whose model is loaded in the background.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Engine;
use crate::{CancelToken, Error, LoadError};

/// An engine whose model is being loaded on a thread of its own: a future of the engine. Dropping it cancels the load.
#[must_use = "dropping it cancels the load"]
pub struct Loading {
    shared: Arc<Shared>,
    cancel: CancelToken,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<Result<Engine, Error>>,
    /// Whether the thread has ended, be it by a panic.
    is_over: bool,
    waker: Option<Waker>,
}

impl Shared {
    /// Nothing panics while it holds the lock, so a poisoned one is intact.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The outcome, once the thread has ended. A thread that panicked left none.
    fn take(&mut self) -> Option<Result<Engine, Error>> {
        self.is_over.then(|| self.outcome.take().unwrap_or_else(|| Err(LoadError::Panicked.into())))
    }
}

/// Wakes the waiters when the thread ends, even if it panics.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.lock();
            state.is_over = true;
            state.waker.take()
        };
        self.0.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Loading {
    /// Runs `load` on a thread. `cancel` is the token that `load` obeys.
    pub(super) fn spawn(
        load: impl FnOnce() -> Result<Engine, Error> + Send + 'static,
        cancel: CancelToken,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let ending = Ending(Arc::clone(&shared));
        let run = move || {
            let outcome = load();
            ending.0.lock().outcome = Some(outcome);
        };
        let spawned = std::thread::Builder::new().name("sm-load".to_owned()).spawn(run);
        spawned.map_err(|source| LoadError::Thread { name: "sm-load", source })?;
        Ok(Self { shared, cancel })
    }

    /// Cancels the load, which ends with [`Error::Cancelled`] within some rows of a matrix.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Blocks until the engine has started.
    ///
    /// # Errors
    /// As [`EngineBuilder::load`](super::EngineBuilder::load); [`Error::Cancelled`].
    pub fn wait(self) -> Result<Engine, Error> {
        let mut state = self.shared.lock();
        loop {
            if let Some(outcome) = state.take() {
                return outcome;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Loading {
    type Output = Result<Engine, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        match state.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl fmt::Debug for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loading").field("is_over", &self.shared.lock().is_over).finish_non_exhaustive()
    }
}
