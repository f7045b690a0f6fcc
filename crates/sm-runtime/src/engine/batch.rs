//! Many prompts, results in their order.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{Engine, RequestHandle};
use crate::{Completion, Error, GenerationOptions, Prompt, Request};

/// How long to wait for room in a queue that others fill.
const RETRY: Duration = Duration::from_millis(2);

/// Completions of many prompts in the prompts' order: an iterator that blocks. Prompts are taken as the engine has room, so
/// neither they nor the results pile up. On the engine's own thread, [`Error::EngineThread`] ends it.
pub struct BatchRun<I> {
    engine: Engine,
    prompts: I,
    /// A prompt that the queue had no room for.
    held: Option<Prompt>,
    options: GenerationOptions,
    n_sent: u64,
    n_done: u64,
    sent: VecDeque<Sent>,
    window: usize,
    progress: Box<dyn FnMut(u64) + Send>,
    /// It was used on the engine's own thread.
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
        // As many wait as run, so that a slot that becomes free is filled at once.
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

    /// Has at most `n` prompts under way at a time, at least one. By default as many run as the engine takes, and as many wait.
    #[must_use]
    pub fn max_parallel(self, n: usize) -> Self {
        Self { window: n.max(1), ..self }
    }

    /// Calls `progress` with the number of prompts that are done, once for each, before its result is given.
    #[must_use]
    pub fn on_progress(self, progress: impl FnMut(u64) + Send + 'static) -> Self {
        Self { progress: Box::new(progress), ..self }
    }

    /// Puts the next prompt into the queue; `false` if there is none, or no room.
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

    /// What came of a prompt. Where others have filled the queue in the meantime, it is put there again.
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

/// A prompt that is under way.
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
            // Others fill the queue.
            std::thread::sleep(RETRY);
        }
        let sent = self.sent.pop_front()?;
        let completion = self.wait(sent);
        self.n_done += 1;
        (self.progress)(self.n_done);
        Some(completion)
    }
}
