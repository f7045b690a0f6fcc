//! A model with a single sequence.

mod generation;

use std::time::Instant;

use sm_kernels::plan::{Executor, ExecutorInfo};
use sm_tensor::TokenId;

use crate::input::Input;
use crate::prompt::RenderedPrompt;
use crate::prompt_limit::PromptLimit;
use crate::rules::Rules;
use crate::sampling::{Candidates, RawLogits, log_sum_exp};
use crate::sequence::{Outputs, Sequence};
use crate::text::TextStart;
use crate::{
    CancelToken, Completion, Error, ExecutorOptions, FinishReason, GenerationOptions, LimitedResource,
    LoadedModel, Prompt,
};

pub use generation::Generation;
use generation::Start;

/// Generates one sequence at a time without an engine. Computed tokens are kept: a prompt that begins with them only
/// computes the rest.
#[derive(Debug)]
pub struct Generator {
    pub(crate) model: LoadedModel,
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) sequence: Sequence,
    /// Prompts and outputs so far: what [`Prompt::Append`] appends to.
    pub(crate) token_ids: Vec<TokenId>,
    pub(crate) candidates: Candidates,
    /// Scratch of [`History`](crate::sampling::History).
    pub(crate) counts: Vec<u32>,
    pub(crate) raw: RawLogits,
}

impl Generator {
    /// A new generator with its own executor for one sequence.
    ///
    /// # Errors
    /// As [`Generator::with_executor`].
    pub fn new(model: LoadedModel) -> Result<Self, Error> {
        Self::with_executor(model, &ExecutorOptions::default())
    }

    /// A new generator with its own executor.
    ///
    /// # Errors
    /// If an option is invalid or memory runs out.
    pub fn with_executor(model: LoadedModel, options: &ExecutorOptions) -> Result<Self, Error> {
        let executor = model.prepare(options)?.executor;
        let sequence = Sequence::new(model.context_len, &*executor);
        Ok(Self {
            model,
            executor,
            sequence,
            token_ids: Vec::new(),
            candidates: Candidates::new(),
            counts: Vec::new(),
            raw: RawLogits::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &LoadedModel {
        &self.model
    }

    /// The backend, its kernel set, workers and memory.
    pub fn info(&self) -> &ExecutorInfo {
        self.executor.info()
    }

    /// The tokens of prompts and outputs so far: what [`Prompt::Append`] appends to.
    pub fn token_ids(&self) -> &[TokenId] {
        &self.token_ids
    }

    /// Forgets all tokens; the next prompt is computed from scratch.
    pub fn reset(&mut self) {
        self.sequence = Sequence::new(self.model.context_len, &*self.executor);
        self.token_ids.clear();
    }

    /// Generates a completion of the prompt. After an error, the tokens are unchanged.
    ///
    /// # Errors
    /// If options or prompt are invalid, before any work; if a step fails; [`Error::Timeout`] with the output so far.
    pub fn generate(&mut self, prompt: &Prompt, options: &GenerationOptions) -> Result<Completion, Error> {
        let token_ids = self.token_ids.clone();
        let completion = self.complete(prompt, options);
        if completion.is_err() {
            self.token_ids = token_ids;
        }
        completion
    }

    fn complete(&mut self, prompt: &Prompt, options: &GenerationOptions) -> Result<Completion, Error> {
        let mut generation = self.stream(prompt, options, &CancelToken::new())?;
        while generation.next_event()?.is_some() {}
        let completion = generation.finish();
        match (completion.finish_reason, options.limits.max_time_ms) {
            (FinishReason::Timeout, Some(limit_ms)) => {
                Err(Error::Timeout { limit_ms, partial: Box::new(completion) })
            }
            _ => Ok(completion),
        }
    }

    /// Starts generating; [`Generation::next_event`] computes token by token.
    ///
    /// # Errors
    /// If options or prompt are invalid; nothing was computed then.
    pub fn stream<'g>(
        &'g mut self,
        prompt: &Prompt,
        options: &'g GenerationOptions,
        cancel: &CancelToken,
    ) -> Result<Generation<'g>, Error> {
        let submitted = Instant::now();
        options.validate()?;
        let rendered = RenderedPrompt::new(prompt, self.model.template(), None)?;
        let echo = rendered.echo(&self.model.text, options)?;
        let input = self.input(rendered, options)?;
        let rules = Rules::new(options, &self.model.text, &self.model.grammars)?;
        let start = Start { submitted, cancel: cancel.clone(), echo };
        Ok(Generation::new(self, input, options, rules, start))
    }

    /// Computes `tokens` from scratch, in chunks, and passes the logits `[vocab_size]` after each position to `visit`.
    /// Discards the current sequence.
    ///
    /// # Errors
    /// If the tokens exceed the context, or a step fails.
    pub fn forward(&mut self, tokens: &[TokenId], visit: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        if tokens.len() > self.model.context_len {
            return Err(Error::limit(LimitedResource::Context, self.model.context_len, tokens.len()));
        }
        self.reset();
        self.sequence.set_rope_range(self.model.rope_range(tokens.len()));
        let limits = self.executor.limits();
        let chunk_len = limits.max_tokens.min(limits.max_outputs);
        for chunk in tokens.chunks(chunk_len) {
            let first = self.sequence.computed().len();
            let output = self.sequence.step(self.executor.as_mut(), chunk, Outputs::All)?;
            for row in 0..chunk.len() {
                visit(first + row, output.logits(row));
            }
        }
        Ok(())
    }

    /// The log-probabilities (natural) of `tokens[1..]`, each given its predecessors. Discards the current sequence.
    ///
    /// # Errors
    /// As [`Generator::forward`], and [`Error::InvalidLogits`].
    pub fn score(&mut self, tokens: &[TokenId]) -> Result<Vec<f64>, Error> {
        let Some((_, predicted)) = tokens.split_first() else { return Ok(Vec::new()) };
        let mut logprobs = Vec::with_capacity(predicted.len());
        let mut invalid = None;
        let mut candidates = Candidates::new();
        self.forward(&tokens[..predicted.len()], &mut |position, logits| match candidates
            .check(logits, position + 1)
        {
            Ok(()) => {
                let logit = logits[predicted[position].0 as usize];
                logprobs.push(f64::from(logit) - log_sum_exp(logits));
            }
            Err(error) => _ = invalid.get_or_insert(error),
        })?;
        invalid.map_or(Ok(logprobs), Err)
    }

    /// Tokenizes a prompt and checks it against the limits.
    fn input(&self, mut prompt: RenderedPrompt<'_>, options: &GenerationOptions) -> Result<Input, Error> {
        let text = &self.model.text;
        let limit = PromptLimit::new(options, self.model.context_len);
        let n_before = self.token_ids.len();
        let appended = prompt.encode_appended(text, limit.after(n_before)).filter(|_| n_before > 0);
        let (tokens, start) = match appended {
            Some(appended) => ([&self.token_ids[..], &appended?].concat(), TextStart::Continued),
            None => prompt.encode(text, limit)?,
        };
        Input::new(tokens, start, options, &self.model.bounds())
    }
}

#[cfg(test)]
mod tests;
