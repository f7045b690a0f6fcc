//! Runs many prompts and yields results in prompt order.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{Engine, RequestHandle};
use crate::{Completion, Error, GenerationOptions, Prompt, Request};

/// Wait before retrying when other callers have filled the queue.
const RETRY: Duration = Duration::from_millis(2);

/// A blocking iterator over the completions of many prompts, in prompt order. Prompts are pulled as the engine has
/// room, so neither prompts nor results pile up. On the engine's own thread it ends with [`Error::EngineThread`].
pub struct BatchRun<I> {
    engine: Engine,
    prompts: I,
    /// A prompt that did not fit in the queue.
    held: Option<Prompt>,
    options: GenerationOptions,
    n_sent: u64,
    n_done: u64,
    sent: VecDeque<Sent>,
    window: usize,
    progress: Box<dyn FnMut(u64) + Send>,
    /// Iterated on the engine's own thread.
    is_refused: bool,
}

impl<I> fmt::Debug for BatchRun<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_sent, n_done, .. } = self;
        f.debug_struct("BatchRun").field("n_sent", n_sent).field("n_done", n_done).finish_non_exhaustive()
    }
}

impl<I: Iterator<Item = Prompt>> BatchRun<I> {
    pub(super) fn new(engine: Engine, prompts: I, options: GenerationOptions) -> Self {
        // Queue as many as run, so that a freed slot is filled immediately.
        let window = 2 * engine.max_batch_size();
        Self {
            engine,
            prompts,
            held: None,
            options,
            n_sent: 0,
            n_done: 0,
            sent: VecDeque::with_capacity(window),
            window,
            progress: Box::new(|_| ()),
            is_refused: false,
        }
    }

    /// Limits the prompts in flight to `n`, at least one. By default, twice the engine's batch size: half running, half
    /// queued.
    #[must_use]
    pub fn max_parallel(self, n: usize) -> Self {
        Self { window: n.max(1), ..self }
    }

    /// Calls `progress` with the number of finished prompts, once per prompt, before yielding its result.
    #[must_use]
    pub fn on_progress(self, progress: impl FnMut(u64) + Send + 'static) -> Self {
        Self { progress: Box::new(progress), ..self }
    }

    /// Queues the next prompt; `false` if there is none, or no room.
    fn send(&mut self) -> bool {
        let Some(prompt) = self.held.take().or_else(|| self.prompts.next()) else {
            return false;
        };
        let mut options = self.options.clone();
        options.sampling.seed = options.sampling.seed.map(|seed| seed.wrapping_add(self.n_sent));
        let request = Request::new(prompt, options);
        match self.engine.submit(request.clone()) {
            Err(error) if error.is_full_queue() => {
                self.held = Some(request.prompt);
                false
            }
            handle => {
                self.n_sent += 1;
                self.sent.push_back(Sent { request, handle });
                true
            }
        }
    }

    /// Waits for a prompt's result. Resubmits it if other callers filled the queue in the meantime.
    fn wait(&self, sent: Sent) -> Result<Completion, Error> {
        let Sent { request, mut handle } = sent;
        loop {
            match handle.and_then(RequestHandle::wait) {
                Err(error) if error.is_full_queue() => {
                    std::thread::sleep(RETRY);
                    handle = self.engine.submit(request.clone());
                }
                completions => return completions.map(|mut completions| completions.swap_remove(0)),
            }
        }
    }
}

/// A prompt in flight.
#[derive(Debug)]
struct Sent {
    request: Request,
    handle: Result<RequestHandle, Error>,
}

impl<I: Iterator<Item = Prompt>> Iterator for BatchRun<I> {
    type Item = Result<Completion, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_refused {
            return None;
        }
        if self.engine.is_own_thread() {
            self.is_refused = true;
            self.sent.clear();
            return Some(Err(Error::EngineThread));
        }
        loop {
            while self.sent.len() < self.window && self.send() {}
            if self.held.is_none() || !self.sent.is_empty() {
                break;
            }
            // Other callers have filled the queue.
            std::thread::sleep(RETRY);
        }
        let sent = self.sent.pop_front()?;
        let completion = self.wait(sent);
        self.n_done += 1;
        (self.progress)(self.n_done);
        Some(completion)
    }
}
