//! A caller's handles to a request.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::ThreadId;

use sm_batching::RequestId;

use super::ticket::{Cursor, RequestStatus, Ticket};
use crate::{CancelToken, Completion, Error, TokenEvent};

/// A submitted request: a future of its completions. Dropping it cancels the request.
#[must_use = "dropping a handle cancels its request"]
pub struct RequestHandle {
    ticket: Arc<Ticket>,
    id: RequestId,
    /// The engine's thread, which must not wait for the request.
    engine: ThreadId,
    n_prompt_tokens: Option<usize>,
    is_taken: bool,
}

impl RequestHandle {
    pub(crate) fn new(
        ticket: Arc<Ticket>,
        id: RequestId,
        engine: ThreadId,
        n_prompt_tokens: Option<usize>,
    ) -> Self {
        Self { ticket, id, engine, n_prompt_tokens, is_taken: false }
    }

    /// Tokens of the prompt, known as soon as the request is submitted; `None` in a session, whose context counts too.
    pub fn n_prompt_tokens(&self) -> Option<usize> {
        self.n_prompt_tokens
    }

    /// The id for [`Engine::status`](crate::Engine::status) and [`Engine::cancel`](crate::Engine::cancel).
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Lets the request run without a waiting handle; its callback gets the result.
    pub(crate) fn detach(mut self) -> RequestId {
        self.is_taken = true;
        self.id
    }

    /// The request's status.
    pub fn status(&self) -> RequestStatus {
        self.ticket.status()
    }

    /// Cancels the request at the next step boundary, or immediately if it is queued. Idempotent.
    pub fn cancel(&self) {
        self.ticket.cancel.cancel();
    }

    /// Blocks until the request has ended. Returns one completion per choice.
    ///
    /// # Errors
    /// The request's failure; [`Error::Timeout`], [`Error::Cancelled`]; [`Error::EngineThread`], which cancels the
    /// request.
    pub fn wait(mut self) -> Result<Vec<Completion>, Error> {
        let outcome = self.ticket.wait_outcome(self.engine);
        self.is_taken = !matches!(outcome, Err(Error::EngineThread));
        outcome
    }
}

impl Future for RequestHandle {
    type Output = Result<Vec<Completion>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.ticket.poll_outcome(context);
        self.is_taken |= polled.is_ready();
        polled
    }
}

impl Drop for RequestHandle {
    fn drop(&mut self) {
        if !self.is_taken {
            self.cancel();
        }
    }
}

impl fmt::Debug for RequestHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHandle").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// The events of a running request. Dropping it cancels the request.
#[derive(Debug)]
#[must_use = "dropping a stream cancels its request"]
pub struct TokenStream {
    handle: RequestHandle,
    cursor: Cursor,
    is_over: bool,
}

impl TokenStream {
    pub(crate) fn new(handle: RequestHandle) -> Self {
        Self { handle, cursor: Cursor::default(), is_over: false }
    }

    /// The next event, `None` after the last.
    pub async fn next(&mut self) -> Option<Result<TokenEvent, Error>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`TokenStream::next`], for hand-written futures.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<TokenEvent, Error>>> {
        let polled = self.handle.ticket.poll_event(&mut self.cursor, context);
        self.is_over |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    /// Lets `n_tokens` tokens gather before a reader that waits for one is woken, and then takes them in one go: fewer wake-ups
    /// and writes for text that comes less smoothly. The first token and the last wake it at once. By default every token does.
    pub fn wake_every(&self, n_tokens: usize) {
        self.handle.ticket.wake_every(n_tokens);
    }

    /// The next event, `None` after the last or after an error. Blocks.
    pub fn next_blocking(&mut self) -> Option<Result<TokenEvent, Error>> {
        if self.is_over {
            return None;
        }
        let event = self.handle.ticket.wait_event(&mut self.cursor, self.handle.engine);
        self.is_over = matches!(event, None | Some(Err(_)));
        event
    }

    /// The completions, one per choice, with everything the events delivered piecewise. Cancels the request if it is
    /// still running.
    ///
    /// # Errors
    /// The request's failure, if no event reported it.
    pub fn finish(mut self) -> Result<Vec<Completion>, Error> {
        if !self.is_over {
            self.handle.cancel();
        }
        self.handle.is_taken = true;
        self.handle.ticket.wait_outcome(self.handle.engine)
    }

    /// As [`RequestHandle::n_prompt_tokens`].
    pub fn n_prompt_tokens(&self) -> Option<usize> {
        self.handle.n_prompt_tokens
    }

    /// As [`RequestHandle::id`].
    pub fn id(&self) -> RequestId {
        self.handle.id()
    }

    /// The request's status.
    pub fn status(&self) -> RequestStatus {
        self.handle.status()
    }

    /// Cancels the request at the next step boundary; its last event reports it.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// A token to cancel the request from another thread while this one waits for an event.
    pub fn cancel_token(&self) -> CancelToken {
        self.handle.ticket.cancel.clone()
    }
}
