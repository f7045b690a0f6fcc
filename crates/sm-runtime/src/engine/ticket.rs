//! A request's record shared by caller and engine thread: an append-only list of events, and the outcome.
//!
//! The engine writes into memory reserved at submission; readers copy out what they have not seen.

mod status;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

use sm_tensor::TokenId;

use super::admission::Admission;
use crate::cancel::CancelHook;
use crate::output::{MAX_RESERVED, TEXT_BYTES_PER_TOKEN};
use crate::sampling::MAX_RESERVED_TOPS;
use crate::{CancelToken, Completion, Error, FinishReason, PrefillProgress, TokenEvent};

pub use status::RequestStatus;
pub(crate) use status::StatusCell;

/// Called with the result of a request.
pub(crate) type Callback = Box<dyn FnOnce(Result<Vec<Completion>, Error>) + Send>;

/// The shared record of one request.
#[derive(Debug)]
pub(crate) struct Ticket {
    state: Mutex<State>,
    changed: Condvar,
    status: Arc<StatusCell>,
    pub(crate) cancel: CancelToken,
    /// Wakes the engine when the request is cancelled.
    _wake: Option<CancelHook>,
}

/// Capacity of a ticket, reserved so that the engine delivers tokens without allocating.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TicketRoom {
    pub(crate) n_choices: usize,
    /// Per choice.
    pub(crate) max_new_tokens: usize,
    /// Alternatives with log-probabilities per token.
    pub(crate) n_top: usize,
}

struct State {
    events: Vec<Record>,
    /// The text of each choice.
    texts: Vec<String>,
    /// The alternatives of all events, in event order.
    tops: Vec<(TokenId, f32)>,
    completions: Vec<Completion>,
    /// Set once the request has ended.
    is_over: bool,
    error: Option<Error>,
    waker: Option<Waker>,
    /// Events that a reader has taken.
    n_read: usize,
    /// Events for which a waiting reader is woken.
    wake_interval: usize,
    callback: Option<Callback>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// A [`TokenEvent`] whose text and alternatives are ranges into the ticket's lists.
#[derive(Clone, Copy, Debug)]
struct Record {
    choice: usize,
    index: usize,
    token: Option<TokenId>,
    text_end: usize,
    top_end: usize,
    logprob: Option<f32>,
    finish_reason: Option<FinishReason>,
    prefill: Option<PrefillProgress>,
}

/// A reader's position.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    n_events: usize,
    /// Of each choice.
    text_ends: Vec<usize>,
    top_end: usize,
}

impl Ticket {
    /// A ticket for a request that `cancel` cancels.
    pub(crate) fn new(room: TicketRoom, cancel: CancelToken) -> Self {
        let TicketRoom { n_choices, max_new_tokens, n_top } = room;
        let n_tokens = max_new_tokens.min(MAX_RESERVED) + 1;
        let n_events = n_choices.saturating_mul(n_tokens).min(4 * MAX_RESERVED);
        let state = State {
            events: Vec::with_capacity(n_events),
            tops: Vec::with_capacity(n_events.saturating_mul(n_top).min(MAX_RESERVED_TOPS)),
            texts: (0..n_choices).map(|_| String::with_capacity(n_tokens * TEXT_BYTES_PER_TOKEN)).collect(),
            completions: Vec::with_capacity(n_choices),
            is_over: false,
            error: None,
            waker: None,
            n_read: 0,
            wake_interval: 1,
            callback: None,
        };
        let status = Arc::new(StatusCell::queued());
        Self { state: Mutex::new(state), changed: Condvar::new(), status, cancel, _wake: None }
    }

    /// Calls `wake` when the request is cancelled.
    pub(crate) fn with_wake(self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let hook = self.cancel.on_cancel(wake);
        Self { _wake: Some(hook), ..self }
    }

    /// Calls `callback` with the result, which is then not available elsewhere.
    pub(crate) fn with_callback(self, callback: Callback) -> Self {
        self.lock().callback = Some(callback);
        self
    }

    /// Removes the callback.
    pub(crate) fn disarm(&self) {
        self.lock().callback = None;
    }

    /// Nothing here panics while holding the lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes readers once `n_events` events wait for them.
    pub(crate) fn wake_every(&self, n_events: usize) {
        self.lock().wake_interval = n_events;
    }

    /// Appends an event and wakes readers if it is due.
    pub(crate) fn push(&self, event: &TokenEvent) {
        let mut state = self.lock();
        self.status.set(RequestStatus::Running);
        let text = &mut state.texts[event.choice];
        text.push_str(&event.text);
        let text_end = text.len();
        state.tops.extend_from_slice(&event.top_logprobs);
        let record = Record {
            choice: event.choice,
            index: event.index,
            token: event.token,
            text_end,
            top_end: state.tops.len(),
            logprob: event.logprob,
            finish_reason: event.finish_reason,
            prefill: event.prefill,
        };
        state.events.push(record);
        let is_due = state.events.len() - state.n_read >= state.wake_interval;
        if is_due || event.index == 0 || event.finish_reason.is_some() {
            self.notify(state);
        }
    }

    /// Marks the request as running.
    pub(crate) fn run(&self) {
        self.status.set(RequestStatus::Running);
    }

    fn end(&self, status: RequestStatus, outcome: Result<Vec<Completion>, Error>) {
        let mut state = self.lock();
        self.status.set(status);
        state.is_over = true;
        if let Some(callback) = state.callback.take() {
            self.notify(state);
            // As above: the panic hook has reported it.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(outcome)));
            return;
        }
        match outcome {
            Ok(completions) => state.completions = completions,
            Err(error) => state.error = Some(error),
        }
        self.notify(state);
    }

    fn notify(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            // A panic in a caller's waker must not take down the engine.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// The request's status.
    pub(crate) fn status(&self) -> RequestStatus {
        self.status.get()
    }

    /// A status that outlives the ticket.
    pub(crate) fn status_cell(&self) -> Arc<StatusCell> {
        Arc::clone(&self.status)
    }

    /// Takes the result, or registers the task of `context` to be woken.
    pub(crate) fn poll_outcome(&self, context: &Context<'_>) -> Poll<Result<Vec<Completion>, Error>> {
        let mut state = self.lock();
        match state.take_outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => state.wait_as(context),
        }
    }

    /// Takes the result; blocks until it is available.
    ///
    /// # Errors
    /// The request's failure; [`Error::EngineThread`] on the thread `engine`, which would wait for itself.
    pub(crate) fn wait_outcome(&self, engine: ThreadId) -> Result<Vec<Completion>, Error> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = state.take_outcome() {
                return outcome;
            }
            if is_current(engine) {
                return Err(Error::EngineThread);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next event after the cursor, `None` after the last; registers the task of `context` to be woken.
    pub(crate) fn poll_event(
        &self,
        cursor: &mut Cursor,
        context: &Context<'_>,
    ) -> Poll<Option<Result<TokenEvent, Error>>> {
        let mut state = self.lock();
        match state.next_event(cursor) {
            Some(event) => Poll::Ready(event),
            None => state.wait_as(context),
        }
    }

    /// The next event after the cursor, `None` after the last. Blocks. Fails with [`Error::EngineThread`] on the thread
    /// `engine`, which would wait for itself.
    pub(crate) fn wait_event(
        &self,
        cursor: &mut Cursor,
        engine: ThreadId,
    ) -> Option<Result<TokenEvent, Error>> {
        let mut state = self.lock();
        loop {
            if let Some(event) = state.next_event(cursor) {
                return event;
            }
            if is_current(engine) {
                return Some(Err(Error::EngineThread));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn take_outcome(&mut self) -> Option<Result<Vec<Completion>, Error>> {
        if !self.is_over {
            return None;
        }
        Some(match self.error.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.completions)),
        })
    }

    /// `None` if there is no new event yet, `Some(None)` after the last.
    fn next_event(&mut self, cursor: &mut Cursor) -> Option<Option<Result<TokenEvent, Error>>> {
        let Some(record) = self.events.get(cursor.n_events) else {
            return self.is_over.then(|| self.error.take().map(Err));
        };
        cursor.n_events += 1;
        self.n_read = cursor.n_events;
        cursor.text_ends.resize(self.texts.len(), 0);
        let text_start = std::mem::replace(&mut cursor.text_ends[record.choice], record.text_end);
        let top_start = std::mem::replace(&mut cursor.top_end, record.top_end);
        Some(Some(Ok(TokenEvent {
            choice: record.choice,
            token: record.token,
            text: self.texts[record.choice][text_start..record.text_end].to_owned(),
            index: record.index,
            logprob: record.logprob,
            top_logprobs: self.tops[top_start..record.top_end].to_vec(),
            finish_reason: record.finish_reason,
            prefill: record.prefill,
        })))
    }

    fn wait_as<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// The obligation to answer a request: dropping it unanswered, for whatever reason, reports to the caller that the
/// engine is gone.
#[derive(Debug)]
pub(crate) struct Responder {
    /// `None` once it is answered.
    ticket: Option<Arc<Ticket>>,
    /// Holds the reason the engine ended.
    admission: Arc<Admission>,
}

impl Responder {
    pub(crate) fn new(ticket: Arc<Ticket>, admission: Arc<Admission>) -> Self {
        Self { ticket: Some(ticket), admission }
    }

    /// The ticket, until it is answered.
    pub(crate) fn ticket(&self) -> &Ticket {
        self.ticket.as_ref().expect("answering consumes the responder")
    }

    /// Answers the request.
    pub(crate) fn give(mut self, outcome: Result<Vec<Completion>, Error>) {
        if let Some(ticket) = self.ticket.take() {
            let status = match &outcome {
                Ok(completions) if completions.iter().any(|c| c.finish_reason == FinishReason::Cancelled) => {
                    RequestStatus::Cancelled
                }
                Ok(_) => RequestStatus::Completed,
                Err(Error::Cancelled) => RequestStatus::Cancelled,
                Err(_) => RequestStatus::Failed,
            };
            ticket.end(status, outcome);
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            ticket.end(RequestStatus::Failed, Err(self.admission.end_error()));
        }
    }
}

/// Whether the caller is on the engine's thread (a callback, sink, observer, filter or waker), which must not wait for
/// itself.
pub(crate) fn is_current(engine: ThreadId) -> bool {
    std::thread::current().id() == engine
}

#[cfg(test)]
mod tests;
