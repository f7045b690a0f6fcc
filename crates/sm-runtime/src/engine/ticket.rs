//! What the engine's thread and a caller share of one request: an append-only record of events, and how it ended.
//!
//! The thread writes into room that was reserved when the request was submitted; readers copy out what they have not seen.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use sm_tensor::TokenId;

use crate::output::{MAX_RESERVED, TEXT_BYTES_PER_TOKEN};
use crate::{CancelToken, Completion, Error, FinishReason, TokenEvent};

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

struct State {
    events: Vec<Record>,
    /// The text of each choice.
    texts: Vec<String>,
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

/// A [`TokenEvent`] whose text is a range of its choice's text.
#[derive(Clone, Copy, Debug)]
struct Record {
    choice: usize,
    index: usize,
    token: Option<TokenId>,
    text_end: usize,
    logprob: Option<f32>,
    finish_reason: Option<FinishReason>,
}

/// How far a reader has come.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    n_events: usize,
    text_ends: Vec<usize>,
}

impl Ticket {
    /// A ticket with room for `n_choices` outputs of `max_new_tokens` tokens, which `cancel` ends.
    pub(crate) fn new(n_choices: usize, max_new_tokens: usize, cancel: CancelToken) -> Self {
        let n_tokens = max_new_tokens.min(MAX_RESERVED) + 1;
        let state = State {
            events: Vec::with_capacity(n_choices.saturating_mul(n_tokens).min(4 * MAX_RESERVED)),
            texts: (0..n_choices).map(|_| String::with_capacity(n_tokens * TEXT_BYTES_PER_TOKEN)).collect(),
            completions: Vec::with_capacity(n_choices),
            is_over: false,
            error: None,
            waker: None,
            callback: None,
        };
        let status = Arc::new(StatusCell(AtomicU8::new(RequestStatus::Queued as u8)));
        Self { state: Mutex::new(state), changed: Condvar::new(), status, cancel }
    }

    /// The same, with something to be called with the result; nothing else gets it then.
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
        let record = Record {
            choice: event.choice,
            index: event.index,
            token: event.token,
            text_end: text.len(),
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
            // A caller's panic is none of the engine's; the hook of panics has told it.
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
            waker.wake();
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
    pub(crate) fn wait_outcome(&self) -> Result<Vec<Completion>, Error> {
        let mut state = self.lock();
        loop {
            if let Some(outcome) = state.take_outcome() {
                return outcome;
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

    /// The next event behind the cursor, `None` after the last; blocks until it is there.
    pub(crate) fn wait_event(&self, cursor: &mut Cursor) -> Option<Result<TokenEvent, Error>> {
        let mut state = self.lock();
        loop {
            if let Some(event) = state.next_event(cursor) {
                return event;
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
        let start = std::mem::replace(&mut cursor.text_ends[record.choice], record.text_end);
        Some(Some(Ok(TokenEvent {
            choice: record.choice,
            token: record.token,
            text: self.texts[record.choice][start..record.text_end].to_owned(),
            index: record.index,
            logprob: record.logprob,
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
pub(crate) struct Responder(Option<Arc<Ticket>>);

impl Responder {
    pub(crate) fn new(ticket: Arc<Ticket>) -> Self {
        Self(Some(ticket))
    }

    /// The ticket, until it is answered.
    pub(crate) fn ticket(&self) -> &Ticket {
        self.0.as_ref().expect("an answer is given once, and by value")
    }

    /// Ends the request.
    pub(crate) fn give(mut self, outcome: Result<Vec<Completion>, Error>) {
        if let Some(ticket) = self.0.take() {
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
        if let Some(ticket) = self.0.take() {
            ticket.end(RequestStatus::Failed, Err(Error::ShutDown));
        }
    }
}

#[cfg(test)]
mod tests;
