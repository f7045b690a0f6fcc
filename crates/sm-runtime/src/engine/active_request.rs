//! A request's state on the engine's thread, from submission to response.
//!
//! ```text
//! RequestParams ──► ActiveRequest ── start ──► score, sample (per token, events to the ticket) ──► end ──► respond
//! ```

mod finish;
mod prefill;
mod sampling;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sm_batching::{PromptOutputs, Request, RequestId, Wanted};
use sm_tensor::TokenId;

use super::choice_drafts::ChoiceDrafts;
use super::request_params::{Delivery, KeepAlive, RequestParams};
use super::ticket::Responder;
use crate::grammar::Constraint;
use crate::input::{Bound, Input};
use crate::output::Output;
use crate::pooling::Pool;
use crate::sampling::{Logprobs, MirostatState, SamplerChain};
use crate::text::Text;
use crate::{Completion, Error, FinishReason, GenerationOptions, Select, Timings, Usage};

use prefill::PrefillReport;
pub(crate) use sampling::{DrawPosition, ModelOutput, SamplingBuffers};

/// A queued or running request.
#[derive(Debug)]
pub(crate) struct ActiveRequest {
    pub(crate) responder: Responder,
    pub(crate) id: RequestId,
    /// Keeps the private session alive as long as the request.
    _owner: Option<KeepAlive>,
    keep_alive: Option<KeepAlive>,
    has_spoken: Option<Arc<AtomicBool>>,
    pub(crate) delivery: Delivery,
    options: GenerationOptions,
    select: Select,
    chain: SamplerChain,
    seed: u64,
    bound: Bound,
    /// Whether speculation is allowed.
    pub(super) speculate: bool,
    wanted: Wanted,
    prefill: Option<PrefillReport>,
    usage: Usage,
    choices: Vec<Choice>,
    /// One for each prompt token after the first that has been scored.
    prompt_logprobs: Logprobs,
    /// Collects the hidden states, if the prompt is embedded.
    pool: Option<Pool>,
    /// The failure, if any.
    pub(crate) error: Option<Error>,
    times: Times,
}

/// Timestamps of a request's events.
#[derive(Debug)]
struct Times {
    submitted: Instant,
    started: Option<Instant>,
    first_token: Option<Instant>,
}

/// One of the `n` results of a request.
#[derive(Debug)]
struct Choice {
    output: Option<Output>,
    constraint: Option<Constraint>,
    mirostat: MirostatState,
    logprobs: Logprobs,
    drafts: ChoiceDrafts,
    /// Set with the last token.
    finish_reason: Option<FinishReason>,
    /// The last token, if it is no part of the output.
    end: Option<TokenId>,
    completion: Option<Completion>,
}

impl ActiveRequest {
    pub(crate) fn new(params: RequestParams, input: &Input, text: &Text) -> Self {
        let RequestParams { responder, id, owner, delivery, options, rules, echo, select, n, .. } = params;
        let RequestParams { keep_alive, has_spoken, seed, submitted, speculate, pooling, .. } = params;
        let prefill = params.reports_prefill.then(PrefillReport::default);
        let bound = input.bound(&options);
        let n_top = wants_logprobs(&options, select).then_some(options.logprobs.unwrap_or(0));
        let output = || {
            let output = Output::new(text, input.text_start, &options);
            output.with_head(echo.clone()).with_room(bound.n_tokens)
        };
        let choices = (0..n).map(|_| Choice {
            output: Some(output()),
            constraint: rules.constraint.clone(),
            mirostat: MirostatState::default(),
            logprobs: Logprobs::with_room(n_top, bound.n_tokens),
            drafts: ChoiceDrafts::default(),
            finish_reason: None,
            end: None,
            completion: None,
        });
        Self {
            choices: choices.collect(),
            prompt_logprobs: Logprobs::with_room(options.wanted_of_prompt(), input.tokens.len()),
            chain: rules.chain,
            responder,
            id,
            _owner: owner,
            keep_alive,
            has_spoken,
            delivery,
            select,
            seed,
            bound,
            speculate,
            wanted: Wanted::Logits,
            prefill,
            usage: Usage {
                prompt_tokens: input.tokens.len(),
                truncated_tokens: input.n_truncated,
                choices: n,
                ..Usage::default()
            },
            options,
            pool: pooling.map(Pool::new),
            error: None,
            times: Times { submitted, started: None, first_token: None },
        }
    }

    /// Maximum number of new tokens per choice.
    pub(crate) fn max_new_tokens(&self) -> usize {
        if self.pool.is_some() { 0 } else { self.bound.n_tokens }
    }

    /// Whether a choice may go on for two tokens after the `n_tokens` that it has, prompt included.
    pub(crate) fn may_take_two(&self, n_tokens: usize) -> bool {
        n_tokens - self.usage.prompt_tokens + 2 <= self.max_new_tokens()
    }

    /// Why a finished choice ended.
    pub(crate) fn finish_reason(&self, index: usize) -> FinishReason {
        let completion = self.choices[index].completion.as_ref();
        completion.map_or(FinishReason::Cancelled, |completion| completion.finish_reason)
    }

    /// Records that its first step began at `began`, at prompt position `n_cached`.
    pub(crate) fn start(&mut self, n_cached: usize, began: Instant) {
        if self.times.started.is_none() {
            self.times.started = Some(began);
            self.usage.cached_tokens = n_cached;
            self.responder.ticket().run();
            self.report_prefill(n_cached, Duration::ZERO);
        }
    }

    /// Time in the queue, if the request has had no step yet.
    pub(crate) fn waits(&self) -> Option<Duration> {
        self.times.started.is_none().then(|| self.times.submitted.elapsed())
    }

    /// Whether the prompt is embedded instead of continued.
    pub(crate) fn is_embedded(&self) -> bool {
        self.pool.is_some()
    }

    /// Sets what it needs of the prompt's positions and of those that it samples from, of an executor that finds up to
    /// `max_top_k` first tokens itself.
    pub(crate) fn want_outputs(&mut self, request: &mut Request, max_top_k: usize) {
        self.wanted = self.chain_wants(max_top_k);
        request.prompt_outputs = self.prompt_outputs();
        request.wanted = self.wanted;
    }

    fn prompt_outputs(&self) -> PromptOutputs {
        if let Some(pool) = &self.pool {
            return pool.wanted();
        }
        if self.options.wanted_of_prompt().is_some() { PromptOutputs::All } else { PromptOutputs::Last }
    }

    /// What it samples from.
    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted
    }

    fn chain_wants(&self, max_top_k: usize) -> Wanted {
        let is_constrained = self.choices.iter().any(|choice| choice.constraint.is_some());
        if is_constrained || wants_logprobs(&self.options, self.select) {
            return Wanted::Logits;
        }
        match self.chain.first_tokens() {
            Some(_) if self.chain.is_arg_max() => Wanted::ArgMax,
            Some(k) if k <= max_top_k => Wanted::TopK(k as u32),
            _ => Wanted::Logits,
        }
    }

    /// The draft statistics of a choice; `None` if the request opted out of speculation.
    pub(crate) fn drafts(&mut self, choice: usize) -> Option<&mut ChoiceDrafts> {
        self.speculate.then(|| &mut self.choices[choice].drafts)
    }

    /// Records that the first `n_accepted` of `n_drafts` drafts of a choice were accepted.
    pub(crate) fn count_drafts(&mut self, choice: usize, n_drafts: usize, n_accepted: usize) {
        self.choices[choice].drafts.observe(n_drafts, n_accepted);
    }

    /// Whether all choices have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.choices.iter().all(|choice| choice.completion.is_some())
    }

    /// Records that a call on the session has succeeded.
    pub(crate) fn has_spoken(&self) {
        if let Some(has_spoken) = &self.has_spoken {
            has_spoken.store(true, Ordering::Relaxed);
        }
    }
}

impl Times {
    fn timings(&self) -> Timings {
        let now = Instant::now();
        let first_token = self.first_token.unwrap_or(now);
        let started = self.started.unwrap_or(first_token);
        Timings {
            prefill: first_token.saturating_duration_since(started),
            decode: self.first_token.map_or(Duration::ZERO, |first| now - first),
            first_token: first_token.saturating_duration_since(self.submitted),
            total: now - self.submitted,
        }
    }
}

/// Whether raw log-probabilities are needed, by the caller or to select the best choice.
fn wants_logprobs(options: &GenerationOptions, select: Select) -> bool {
    options.logprobs.is_some() || select == Select::Best
}
