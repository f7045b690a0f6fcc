//! A running generation.

use std::time::{Duration, Instant};

use sm_kernels::plan::Executor;
use sm_tensor::TokenId;

use super::Generator;
use crate::input::{Bound, Input};
use crate::output::Output;
use crate::rules::Rules;
use crate::sampling::{Candidates, Draw, History, Logprobs, MirostatState, RawLogits, random_seed};
use crate::sequence::{Outputs, Sequence};
use crate::{CancelToken, Completion, Error, FinishReason, GenerationOptions, Timings, TokenEvent, Usage};

/// A running generation. Computes tokens on demand.
///
/// Dropping it ends the generation; delivered tokens stay in the generator.
pub struct Generation<'g> {
    executor: &'g mut dyn Executor,
    sequence: &'g mut Sequence,
    /// The prompt, then the output.
    token_ids: &'g mut Vec<TokenId>,
    candidates: &'g mut Candidates,
    counts: &'g mut Vec<u32>,
    raw: &'g mut RawLogits,
    options: &'g GenerationOptions,
    rules: Rules,
    mirostat: MirostatState,
    output: Output,
    cancel: CancelToken,
    seed: u64,
    n_prompt: usize,
    usage: Usage,
    bound: Bound,
    event: TokenEvent,
    logprobs: Logprobs,
    prompt_logprobs: Logprobs,
    submitted: Instant,
    timings: Timings,
    finish_reason: Option<FinishReason>,
    /// The last token, if it is no part of the output.
    end: Option<TokenId>,
}

/// Start time, cancellation and initial text of a generation.
pub(crate) struct Start {
    pub(crate) submitted: Instant,
    pub(crate) cancel: CancelToken,
    /// Text that the output begins with.
    pub(crate) echo: String,
}

impl<'g> Generation<'g> {
    /// `input` must have been checked against the limits.
    pub(crate) fn new(
        generator: &'g mut Generator,
        input: Input,
        options: &'g GenerationOptions,
        rules: Rules,
        start: Start,
    ) -> Self {
        let Generator { model, executor, sequence, token_ids, candidates, counts, raw } = generator;
        let n_prompt = input.tokens.len();
        let bound = input.bound(options);
        let output = Output::new(&model.text, input.text_start, options).with_head(start.echo);
        let reusable = if options.wanted_of_prompt().is_some() { &[] } else { input.tokens.as_slice() };
        // The last token is sampled, and not computed.
        sequence.set_rope_range(model.rope_range(n_prompt + bound.n_tokens - 1));
        let cached_tokens = sequence.keep_common_prefix(reusable);
        *token_ids = input.tokens;
        token_ids.reserve(bound.n_tokens);
        Self {
            executor: executor.as_mut(),
            sequence,
            token_ids,
            candidates,
            counts,
            raw,
            options,
            rules,
            mirostat: MirostatState::default(),
            output,
            cancel: start.cancel,
            seed: options.sampling.seed.unwrap_or_else(random_seed),
            n_prompt,
            usage: Usage {
                prompt_tokens: n_prompt,
                cached_tokens,
                truncated_tokens: input.n_truncated,
                choices: 1,
                ..Usage::default()
            },
            bound,
            event: TokenEvent::default(),
            logprobs: Logprobs::with_room(options.logprobs, bound.n_tokens),
            prompt_logprobs: Logprobs::with_room(options.wanted_of_prompt(), n_prompt),
            submitted: start.submitted,
            timings: Timings::default(),
            finish_reason: None,
            end: None,
        }
    }

    /// The seed, given or drawn; it reproduces this generation.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Computes the next token and its text; `None` after the event with a finish reason.
    ///
    /// # Errors
    /// If a step fails or no token can be sampled. Ends the generation.
    pub fn next_event(&mut self) -> Result<Option<&TokenEvent>, Error> {
        if self.finish_reason.is_some() {
            return Ok(None);
        }
        let began = Instant::now();
        let is_first = self.event.token.is_none();
        let result = self.advance();
        let reason = match &result {
            Ok(reason) => *reason,
            Err(_) => Some(FinishReason::Cancelled),
        };
        if reason.is_some_and(|reason| reason != FinishReason::StopSequence) {
            self.output.flush(&mut self.event);
        }
        self.event.finish_reason = reason;
        self.finish_reason = reason;
        self.timings.total = self.submitted.elapsed();
        let time = if is_first { &mut self.timings.prefill } else { &mut self.timings.decode };
        *time += began.elapsed();
        if is_first {
            self.timings.first_token = self.timings.total;
        }
        result.map(|_| Some(&self.event))
    }

    /// The completion: everything the events delivered piecewise. Cancels the generation if it has not ended.
    pub fn finish(mut self) -> Completion {
        let finish_reason = self.finish_reason.unwrap_or(FinishReason::Cancelled);
        if self.finish_reason.is_none() {
            self.output.flush(&mut self.event);
        }
        let finished = self.output.finish(finish_reason);
        self.token_ids.truncate(self.n_prompt + finished.n_tokens);
        self.usage.generated_tokens = finished.n_generated;
        let (prompt_tokens, tokens) = self.token_ids.split_at(self.n_prompt);
        let (logprobs, end) = self.logprobs.first_and_end(finished.n_tokens, self.end);
        Completion {
            choice: 0,
            text: finished.text,
            tokens: tokens.to_vec(),
            prompt_tokens: prompt_tokens.to_vec(),
            finish_reason,
            stop_sequence: finished.stop_sequence,
            seed: self.seed,
            usage: self.usage,
            timings: self.timings,
            logprobs,
            end,
            prompt_logprobs: self.prompt_logprobs.first(self.n_prompt),
            embedding: Vec::new(),
        }
    }

    /// Computes pending tokens, samples, and sets the event.
    fn advance(&mut self) -> Result<Option<FinishReason>, Error> {
        let index = self.output.n_tokens();
        let Some(token) = self.next_token()? else {
            self.event = TokenEvent { index, ..TokenEvent::default() };
            let is_cancelled = self.cancel.is_cancelled();
            return Ok(Some(if is_cancelled { FinishReason::Cancelled } else { FinishReason::Timeout }));
        };
        let reason = self.output.push_within(token, self.rules.constraint.as_mut(), &mut self.event)?;
        match reason {
            Some(FinishReason::Stop | FinishReason::Eos) => self.end = Some(token),
            _ => self.token_ids.push(token),
        }
        let is_bound_reached = self.output.n_tokens() >= self.bound.n_tokens;
        Ok(reason.or(is_bound_reached.then_some(self.bound.reason)))
    }

    /// The next token, or `None` on timeout or cancellation.
    fn next_token(&mut self) -> Result<Option<TokenId>, Error> {
        if self.options.wanted_of_prompt().is_some() {
            self.score_prompt()?;
        }
        let chunk_len = self.executor.limits().max_tokens;
        loop {
            if self.cancel.is_cancelled() || self.is_late() {
                return Ok(None);
            }
            let missing = &self.token_ids[self.sequence.computed().len()..];
            if missing.len() <= chunk_len {
                break;
            }
            self.sequence.step(self.executor, &missing[..chunk_len], Outputs::None)?;
        }
        let missing = &self.token_ids[self.sequence.computed().len()..];
        let logits = self.sequence.step(self.executor, missing, Outputs::Last)?.logits_mut(0);
        let draw = Draw { seed: self.seed, choice: 0, position: self.token_ids.len() as u32 };
        if self.options.logprobs.is_some() {
            self.raw.keep(logits);
        }
        let mut history =
            History::new(self.token_ids, self.n_prompt, self.counts).with_mirostat(&mut self.mirostat);
        let Rules { chain, constraint } = &mut self.rules;
        let token = chain.sample_within(constraint.as_mut(), logits, &mut history, draw, self.candidates)?;
        if self.options.logprobs.is_some() {
            let of = self.options.logprobs_of;
            let logprob = self.raw.append_drawn(of, token, &mut self.logprobs, self.candidates);
            self.event.logprob = Some(logprob);
            self.event.top_logprobs.clear();
            self.event.top_logprobs.extend_from_slice(self.logprobs.last_top());
        }
        Ok(Some(token))
    }

    /// Computes the rest of the prompt except its last token, scoring each token with the preceding logits.
    fn score_prompt(&mut self) -> Result<(), Error> {
        let limits = self.executor.limits();
        let chunk_len = limits.max_tokens.min(limits.max_outputs);
        while self.sequence.computed().len() + 1 < self.n_prompt
            && !self.cancel.is_cancelled()
            && !self.is_late()
        {
            let start = self.sequence.computed().len();
            let end = (start + chunk_len).min(self.n_prompt - 1);
            let output = self.sequence.step(self.executor, &self.token_ids[start..end], Outputs::All)?;
            for position in start + 1..=end {
                let (scored, row) =
                    ((position, self.token_ids[position]), output.logits(position - start - 1));
                self.raw.score(row, scored, &mut self.prompt_logprobs, self.candidates)?;
            }
        }
        Ok(())
    }

    fn is_late(&self) -> bool {
        let limit = self.options.limits.max_time_ms.map(Duration::from_millis);
        limit.is_some_and(|limit| self.submitted.elapsed() >= limit)
    }
}

impl std::fmt::Debug for Generation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("options", &self.options)
            .field("seed", &self.seed)
            .field("usage", &self.usage)
            .field("finish_reason", &self.finish_reason)
            .finish_non_exhaustive()
    }
}
