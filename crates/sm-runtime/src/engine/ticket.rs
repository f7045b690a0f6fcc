//! What the engine's thread and a caller share of one request: an append-only record of events, and how it ended.
//!
//! The thread writes into room that was reserved when the request was submitted; readers copy out what they have not seen.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

use sm_tensor::TokenId;

use super::admission::Admission;
use crate::cancel::CancelHook;
use crate::output::{MAX_RESERVED, TEXT_BYTES_PER_TOKEN};
use crate::sampling::MAX_RESERVED_TOPS;
use crate::{CancelToken, Completion, Error, FinishReason, TokenEvent};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestStatus {
    /// It waits for its turn.
    Queued,
    /// It has rows in the steps.
    Running,
    /// It ended by itself, or the time of a stream was over.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl RequestStatus {
    /// Whether nothing more comes.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A status that outlives its ticket.
#[derive(Debug)]
pub(crate) struct StatusCell(AtomicU8);

impl StatusCell {
    const ALL: [RequestStatus; 5] = [
        RequestStatus::Queued,
        RequestStatus::Running,
        RequestStatus::Completed,
        RequestStatus::Failed,
        RequestStatus::Cancelled,
    ];

    pub(crate) fn get(&self) -> RequestStatus {
        Self::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    fn set(&self, status: RequestStatus) {
        self.0.store(status as u8, Ordering::Release);
    }
}

/// What is called with the result of a request.
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

/// What a ticket has room for, so that the engine's thread allocates nothing to deliver a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TicketRoom {
    pub(crate) n_choices: usize,
    /// Of each choice.
    pub(crate) max_new_tokens: usize,
    /// Alternatives whose log-probabilities come with each token.
    pub(crate) n_top: usize,
}

struct State {
    events: Vec<Record>,
    /// The text of each choice.
    texts: Vec<String>,
    /// The alternatives of all events, in the order of the events.
    tops: Vec<(TokenId, f32)>,
    completions: Vec<Completion>,
    /// Set once nothing more comes.
    is_over: bool,
    error: Option<Error>,
    waker: Option<Waker>,
    callback: Option<Callback>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// A [`TokenEvent`] whose text and alternatives are ranges of what the ticket keeps.
#[derive(Clone, Copy, Debug)]
struct Record {
    choice: usize,
    index: usize,
    token: Option<TokenId>,
    text_end: usize,
    top_end: usize,
    logprob: Option<f32>,
    finish_reason: Option<FinishReason>,
}

/// How far a reader has come.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    n_events: usize,
    /// Of each choice.
    text_ends: Vec<usize>,
    top_end: usize,
}

impl Ticket {
    /// The ticket of a request that `cancel` ends.
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
            callback: None,
        };
        let status = Arc::new(StatusCell(AtomicU8::new(RequestStatus::Queued as u8)));
        Self { state: Mutex::new(state), changed: Condvar::new(), status, cancel, _wake: None }
    }

    /// The same, calling `wake` when the request is cancelled.
    pub(crate) fn with_wake(self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let hook = self.cancel.on_cancel(wake);
        Self { _wake: Some(hook), ..self }
    }

    /// The same, calling `callback` with the result; nothing else gets it then.
    pub(crate) fn with_callback(self, callback: Callback) -> Self {
        self.lock().callback = Some(callback);
        self
    }

    /// Calls nobody with the result.
    pub(crate) fn disarm(&self) {
        self.lock().callback = None;
    }

    /// Nothing here panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells readers of an event.
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
        };
        state.events.push(record);
        self.notify(state);
    }

    /// Says that it has rows in a step.
    pub(crate) fn run(&self) {
        self.status.set(RequestStatus::Running);
    }

    fn end(&self, status: RequestStatus, outcome: Result<Vec<Completion>, Error>) {
        let mut state = self.lock();
        self.status.set(status);
        state.is_over = true;
        if let Some(callback) = state.callback.take() {
            self.notify(state);
            // Likewise: the panic hook has reported it.
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
            // A caller's panic is none of the engine's.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }

    /// Where the request stands.
    pub(crate) fn status(&self) -> RequestStatus {
        self.status.get()
    }

    /// The status, to be looked at when the ticket is gone.
    pub(crate) fn status_cell(&self) -> Arc<StatusCell> {
        Arc::clone(&self.status)
    }

    /// The result, once; waits for it as the task of `context`.
    pub(crate) fn poll_outcome(&self, context: &Context<'_>) -> Poll<Result<Vec<Completion>, Error>> {
        let mut state = self.lock();
        match state.take_outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => state.wait_as(context),
        }
    }

    /// The result, once; blocks until it is there.
    ///
    /// # Errors
    /// What made the request fail; [`Error::EngineThread`] on the thread `engine`, which would wait for itself.
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

    /// The next event behind the cursor, `None` after the last; waits for it as the task of `context`.
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

    /// The next event behind the cursor, `None` after the last; blocks until it is there, and fails with
    /// [`Error::EngineThread`] on the thread `engine`, which would wait for itself.
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

    /// `None` if it has not come yet, `Some(None)` if none comes.
    fn next_event(&mut self, cursor: &mut Cursor) -> Option<Option<Result<TokenEvent, Error>>> {
        let Some(record) = self.events.get(cursor.n_events) else {
            return self.is_over.then(|| self.error.take().map(Err));
        };
        cursor.n_events += 1;
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

/// The duty to answer a request: if it is dropped unanswered, whatever happened, the caller learns that the engine is gone.
#[derive(Debug)]
pub(crate) struct Responder {
    /// `None` once it is answered.
    ticket: Option<Arc<Ticket>>,
    /// Knows why the engine is gone.
    admission: Arc<Admission>,
}

impl Responder {
    pub(crate) fn new(ticket: Arc<Ticket>, admission: Arc<Admission>) -> Self {
        Self { ticket: Some(ticket), admission }
    }

    /// The ticket, until it is answered.
    pub(crate) fn ticket(&self) -> &Ticket {
        self.ticket.as_ref().expect("an answer is given once, and by value")
    }

    /// Ends the request.
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

/// Whether this is the engine's thread, in a callback, sink, observer, filter or waker: it must not wait for itself.
pub(crate) fn is_current(engine: ThreadId) -> bool {
    std::thread::current().id() == engine
}

#[cfg(test)]
mod tests;
