//! Runs many prompts and yields results in prompt order.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::{Engine, RequestHandle};
use crate::{Completion, Error, GenerationOptions, Prompt, Request};

/// Wait before retrying when other callers have filled the queue.
const RETRY: Duration = Duration::from_millis(2);

/// The completions of many prompts, in prompt order: a blocking iterator, or a stream by [`BatchRun::next_async`]. Prompts
/// are pulled as the engine has room, so neither prompts nor results pile up. On the engine's own thread it ends with
/// [`Error::EngineThread`].
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

    /// Queues prompts while there is room. Returns whether there is nothing to wait for but the queue, which other callers
    /// have filled.
    fn fill(&mut self) -> bool {
        while self.sent.len() < self.window && self.send() {}
        self.held.is_some() && self.sent.is_empty()
    }

    fn done(&mut self, completion: Result<Completion, Error>) -> Result<Completion, Error> {
        self.n_done += 1;
        (self.progress)(self.n_done);
        completion
    }

    /// The next completion, `None` after the last: as the iterator, without blocking.
    ///
    /// ```no_run
    /// # async fn run(engine: sm_runtime::Engine, prompts: Vec<sm_runtime::Prompt>) -> Result<(), sm_runtime::Error> {
    /// let mut batch = engine.generate_batch(prompts, &sm_runtime::GenerationOptions::new());
    /// while let Some(completion) = batch.next_async().await {
    ///     println!("{}", completion?.text);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next_async(&mut self) -> Option<Result<Completion, Error>> {
        while self.fill() {
            if let Err(error) = next_step(&self.engine).await {
                self.held = None;
                return Some(Err(error));
            }
        }
        let sent = self.sent.pop_front()?;
        let completion = sent.wait_async(&self.engine).await;
        Some(self.done(completion))
    }
}

/// A prompt in flight.
#[derive(Debug)]
struct Sent {
    request: Request,
    handle: Result<RequestHandle, Error>,
}

impl Sent {
    /// Waits for the result. Resubmits the prompt if other callers filled the queue in the meantime.
    fn wait(self, engine: &Engine) -> Result<Completion, Error> {
        let Self { request, mut handle } = self;
        loop {
            match handle.and_then(RequestHandle::wait) {
                Err(error) if error.is_full_queue() => {
                    std::thread::sleep(RETRY);
                    handle = engine.submit(request.clone());
                }
                completions => return completions.map(|mut completions| completions.swap_remove(0)),
            }
        }
    }

    /// As [`Sent::wait`], without blocking.
    async fn wait_async(self, engine: &Engine) -> Result<Completion, Error> {
        let Self { request, mut handle } = self;
        loop {
            let outcome = match handle {
                Ok(handle) => handle.await,
                Err(error) => Err(error),
            };
            match outcome {
                Err(error) if error.is_full_queue() => {
                    next_step(engine).await?;
                    handle = engine.submit(request.clone());
                }
                completions => return completions.map(|mut completions| completions.swap_remove(0)),
            }
        }
    }
}

/// Waits for the end of the current step, where the queue may shrink.
async fn next_step(engine: &Engine) -> Result<(), Error> {
    engine.call_async(|_| ()).await
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
        while self.fill() {
            std::thread::sleep(RETRY);
        }
        let sent = self.sent.pop_front()?;
        let completion = sent.wait(&self.engine);
        Some(self.done(completion))
    }
}
