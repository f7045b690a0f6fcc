//! Many prompts, results in their order.

use std::collections::VecDeque;

use super::{Engine, RequestHandle};
use crate::{Completion, Error, GenerationOptions, Prompt, Request};

/// Completions of many prompts in the prompts' order. Prompts are read as the engine has room, so neither they nor the
/// results pile up.
#[derive(Debug)]
pub struct BatchRun<I> {
    engine: Engine,
    prompts: I,
    options: GenerationOptions,
    n_sent: u64,
    sent: VecDeque<Result<RequestHandle, Error>>,
    window: usize,
}

impl<I: Iterator<Item = Prompt>> BatchRun<I> {
    pub(super) fn new(engine: Engine, prompts: I, options: GenerationOptions) -> Self {
        // As many wait as run, so that a slot that becomes free is filled at once.
        let window = 2 * engine.0.max_batch_size;
        Self { engine, prompts, options, n_sent: 0, sent: VecDeque::with_capacity(window), window }
    }

    fn send(&mut self, prompt: Prompt) {
        let mut options = self.options.clone();
        options.sampling.seed = options.sampling.seed.map(|seed| seed.wrapping_add(self.n_sent));
        self.n_sent += 1;
        self.sent.push_back(self.engine.submit(Request::new(prompt, options)));
    }
}

impl<I: Iterator<Item = Prompt>> Iterator for BatchRun<I> {
    type Item = Result<Completion, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.sent.len() < self.window
            && let Some(prompt) = self.prompts.next()
        {
            self.send(prompt);
        }
        let completions = self.sent.pop_front()?.and_then(RequestHandle::wait);
        Some(completions.map(|mut completions| completions.swap_remove(0)))
    }
}
