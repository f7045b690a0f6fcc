//! Requests in flight, and their answers in input order.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use sm_runtime::{Completion, Engine, Error, ErrorKind, GenerationOptions, RequestHandle};

use super::answer::Answer;
use super::lines::Line;
use super::recipient::Recipient;
use super::refusal::Refusal;
use super::request::ParsedLine;
use crate::failure::Failure;

/// Maximum answers waiting for an earlier one, per running request.
const N_WAITING: usize = 32;

/// Requests in flight.
pub(super) struct InFlight<'e> {
    engine: &'e Engine,
    /// In input order.
    slots: VecDeque<Slot>,
    n_running: usize,
    /// More than the engine runs concurrently, so that the next request is already queued when one ends.
    max_running: usize,
    max_slots: usize,
    waker: Waker,
}

enum Slot {
    Running(Box<Running>),
    Done(Answer),
}

struct Running {
    recipient: Recipient,
    number: u64,
    line_end: u64,
    /// Whether the request asks for a form.
    has_form: bool,
    handle: RequestHandle,
}

/// Unparks the thread that waits for answers.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<'e> InFlight<'e> {
    /// For an engine that runs `parallel` requests concurrently. The calling thread is unparked when one makes progress.
    pub(super) fn new(engine: &'e Engine, parallel: usize) -> Self {
        Self {
            engine,
            slots: VecDeque::new(),
            n_running: 0,
            max_running: parallel + parallel.div_ceil(4),
            max_slots: parallel.saturating_mul(N_WAITING),
            waker: Waker::from(Arc::new(Unpark(thread::current()))),
        }
    }

    /// Whether another request can be sent.
    pub(super) fn has_room(&self) -> bool {
        self.n_running < self.max_running && self.slots.len() < self.max_slots
    }

    /// Whether there are no requests and no answers.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Submits the request of a line.
    ///
    /// # Errors
    /// If the engine has ended.
    pub(super) fn send(&mut self, line: &Line, options: &GenerationOptions) -> Result<(), Failure> {
        let ParsedLine { recipient, request } = ParsedLine::new(line, options, Some(self.engine.model()));
        let (number, line_end) = (line.number, line.end);
        let has_form = request.as_ref().is_ok_and(|request| request.options.grammar.is_some());
        let sent = match request {
            Ok(request) => of_request(self.engine.submit(request))?,
            Err(message) => Err(Refusal { message, kind: ErrorKind::InvalidRequest }),
        };
        let slot = match sent {
            Ok(handle) => {
                self.n_running += 1;
                Slot::Running(Box::new(Running { recipient, number, line_end, has_form, handle }))
            }
            Err(refusal) => Slot::Done(Answer::failed(&recipient, &on_line(number, refusal), line_end)?),
        };
        self.slots.push_back(slot);
        Ok(())
    }

    /// Collects completed answers. Returns whether there were any.
    ///
    /// # Errors
    /// If the engine has ended.
    pub(super) fn collect(&mut self) -> Result<bool, Failure> {
        let mut context = Context::from_waker(&self.waker);
        let mut n_done = 0;
        let tokenizer = self.engine.model().tokenizer();
        for slot in &mut self.slots {
            let Slot::Running(running) = slot else { continue };
            let Poll::Ready(outcome) = Pin::new(&mut running.handle).poll(&mut context) else { continue };
            let Running { recipient, number, line_end, has_form, .. } = &**running;
            let answer = match of_request(outcome.or_else(partial))? {
                Ok(completions) => {
                    let answer = Answer::new(recipient, &completions, tokenizer, *line_end)?;
                    if *has_form { answer.of_form(&completions) } else { answer }
                }
                Err(refusal) => Answer::failed(recipient, &on_line(*number, refusal), *line_end)?,
            };
            *slot = Slot::Done(answer);
            n_done += 1;
        }
        self.n_running -= n_done;
        Ok(n_done > 0)
    }

    /// The answer to the oldest request, if complete.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        match self.slots.pop_front()? {
            Slot::Done(answer) => Some(answer),
            running @ Slot::Running(_) => {
                self.slots.push_front(running);
                None
            }
        }
    }
}

/// Fails the command if the engine has ended. Any other error belongs to one request.
fn of_request<T>(result: Result<T, Error>) -> Result<Result<T, Refusal>, Failure> {
    match result {
        Err(Error::ShutDown) => Err(Error::ShutDown.into()),
        result => Ok(result.map_err(|error| Refusal { kind: error.kind(), message: error.to_string() })),
    }
}

/// A request that timed out is answered with its output so far.
fn partial(error: Error) -> Result<Vec<Completion>, Error> {
    match error {
        Error::Timeout { partial, .. } => Ok(vec![*partial]),
        error => Err(error),
    }
}

fn on_line(number: u64, Refusal { message, kind }: Refusal) -> Refusal {
    Refusal { message: format!("line {number}: {message}"), kind }
}
