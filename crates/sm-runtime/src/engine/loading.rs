//! Loading without waiting for it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Engine;
use crate::{CancelToken, Error, LoadError};

/// An engine whose model is being loaded, on a thread of its own: a future of it. Dropping it cancels the loading.
#[must_use = "dropping it cancels the loading"]
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
    /// Whether the thread has ended, in whatever way.
    is_over: bool,
    waker: Option<Waker>,
}

impl Shared {
    /// Nothing here panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What came of it, once it is over; a thread that panicked left nothing.
    fn take(&mut self) -> Option<Result<Engine, Error>> {
        self.is_over.then(|| self.outcome.take().unwrap_or_else(|| Err(LoadError::Panicked.into())))
    }
}

/// Tells whoever waits, even if the thread panics.
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
    /// Runs `load` on a thread until it is done or `cancel` ends it.
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

    /// Ends the loading within a few of the model's rows; what comes of it is [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Blocks until the engine is there.
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
