//! A one-shot channel whose receiver can be awaited by a task or block a thread.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Creates both ends of a reply.
pub(crate) fn reply<T>() -> (Replier<T>, Reply<T>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::Open { waker: None }), changed: Condvar::new() });
    (Replier(Arc::clone(&shared)), Reply(shared))
}

/// Sends the reply. Dropping it unsent closes the other end.
pub(crate) struct Replier<T>(Arc<Shared<T>>);

/// Receives the reply: a future, `None` if the sender is gone.
pub(crate) struct Reply<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Open {
        waker: Option<Waker>,
    },
    /// `None` once taken, or if the sender is gone.
    Closed(Option<T>),
}

impl<T> Shared<T> {
    /// Nothing panics while holding the lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, value: Option<T>) {
        let mut state = self.lock();
        let State::Open { waker } = &mut *state else { return };
        let waker = waker.take();
        *state = State::Closed(value);
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Replier<T> {
    pub(crate) fn give(self, value: T) {
        self.0.close(Some(value));
    }
}

impl<T> Drop for Replier<T> {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

impl<T> Reply<T> {
    /// Blocks until the reply arrives; `None` if the sender is gone.
    pub(crate) fn wait(self) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            if let State::Closed(value) = &mut *state {
                return value.take();
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for Reply<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self.0.lock() {
            State::Closed(value) => Poll::Ready(value.take()),
            State::Open { waker: Some(waker) } => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
            State::Open { waker } => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Replier<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replier").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_closed = matches!(*self.0.lock(), State::Closed(_));
        f.debug_struct("Reply").field("is_closed", &is_closed).finish_non_exhaustive()
    }
}
