//! A request on the engine's thread, from its submission to its answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sm_batching::{PromptLogits, RequestId};
use sm_tensor::TokenId;

use super::choice_drafts::ChoiceDrafts;
use super::session::Owner;
use super::ticket::Responder;
use crate::grammar::Constraint;
use crate::input::{Bound, Input};
use crate::output::Output;
use crate::rules::Rules;
use crate::sampling::{Candidates, Draw, History, Logprobs, RawLogits, SamplerChain};
use crate::text::Text;
use crate::{
    Completion, Error, FinishReason, GenerationOptions, RequestMetrics, Select, Timings, TokenEvent, Usage,
};

/// Something that must exist until a request is over.
pub(crate) type KeepAlive = Arc<dyn Any + Send + Sync>;

/// Whether a caller takes the text as it grows, or waits for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// What was delivered counts, however the request ends.
    Stream,
    /// A request that does not end by itself has failed.
    Whole,
}

/// A request that waits or runs.
#[derive(Debug)]
pub(crate) struct ActiveRequest {
    pub(crate) answer: Responder,
    pub(crate) id: RequestId,
    /// Kept until it is over.
    _owner: Option<Arc<Owner>>,
    keep_alive: Option<KeepAlive>,
    has_spoken: Option<Arc<AtomicBool>>,
    pub(crate) delivery: Delivery,
    options: GenerationOptions,
    select: Select,
    chain: SamplerChain,
    seed: u64,
    bound: Bound,
    /// Whether its tokens may be guessed.
    speculate: bool,
    usage: Usage,
    choices: Vec<Choice>,
    /// One per token of the prompt after the first, as far as they are scored.
    prompt_logprobs: Logprobs,
    /// What made it fail.
    pub(crate) error: Option<Error>,
    times: Times,
}

/// When what happened.
#[derive(Debug)]
struct Times {
    submitted: Instant,
    started: Option<Instant>,
    first_token: Option<Instant>,
}

/// One continuation.
#[derive(Debug)]
struct Choice {
    output: Option<Output>,
    constraint: Option<Constraint>,
    logprobs: Logprobs,
    drafts: ChoiceDrafts,
    /// Set by the token that ends it.
    finish_reason: Option<FinishReason>,
    completion: Option<Completion>,
}

/// Memory that sampling needs, kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    candidates: Candidates,
    counts: Vec<u32>,
    raw: RawLogits,
    event: TokenEvent,
    /// Logits that several choices draw from.
    shared: Vec<f32>,
    /// A sequence's tokens and the accepted drafts behind it.
    pub(crate) tokens: Vec<TokenId>,
}

impl Scratch {
    /// Keeps logits that several choices will draw from.
    pub(crate) fn keep_shared(&mut self, logits: &[f32]) {
        self.shared.clear();
        self.shared.extend_from_slice(logits);
    }

    /// Puts them back, for a sampler changes them.
    pub(crate) fn restore_shared(&self, logits: &mut [f32]) {
        logits.copy_from_slice(&self.shared);
    }
}

/// What a caller hands over, beside its prompt.
pub(crate) struct RequestParams {
    pub(crate) answer: Responder,
    pub(crate) id: RequestId,
    /// The private session that it belongs to, if it does.
    pub(crate) owner: Option<Arc<Owner>>,
    pub(crate) keep_alive: Option<KeepAlive>,
    /// Whether its session has been told something, as far as its handle knows.
    pub(crate) has_spoken: Option<Arc<AtomicBool>>,
    pub(crate) delivery: Delivery,
    pub(crate) options: GenerationOptions,
    pub(crate) rules: Rules,
    /// What each text begins with.
    pub(crate) echo: String,
    pub(crate) select: Select,
    pub(crate) n: usize,
    pub(crate) seed: u64,
    pub(crate) submitted: Instant,
    pub(crate) speculate: bool,
}

/// Where a token is to be drawn.
pub(crate) struct Place<'a> {
    pub(crate) choice: usize,
    /// Prompt and output so far.
    pub(crate) token_ids: &'a [TokenId],
}

impl ActiveRequest {
    pub(crate) fn new(terms: RequestParams, input: &Input, text: &Text) -> Self {
        let RequestParams { answer, id, owner, delivery, options, rules, echo, select, n, .. } = terms;
        let RequestParams { keep_alive, has_spoken, seed, submitted, speculate, .. } = terms;
        let bound = input.bound(&options);
        let n_top = wants_logprobs(&options, select).then_some(options.logprobs.unwrap_or(0));
        let output = || {
            let output = Output::new(text, input.text_start, &options.stop);
            output.with_head(echo.clone()).with_room(bound.n_tokens)
        };
        let choices = (0..n).map(|_| Choice {
            output: Some(output()),
            constraint: rules.constraint.clone(),
            logprobs: Logprobs::with_room(n_top, bound.n_tokens),
            drafts: ChoiceDrafts::default(),
            finish_reason: None,
            completion: None,
        });
        Self {
            choices: choices.collect(),
            prompt_logprobs: Logprobs::with_room(options.wanted_of_prompt(), input.tokens.len()),
            chain: rules.chain,
            answer,
            id,
            _owner: owner,
            keep_alive,
            has_spoken,
            delivery,
            select,
            seed,
            bound,
            speculate,
            usage: Usage {
                prompt_tokens: input.tokens.len(),
                truncated_tokens: input.n_truncated,
                choices: n,
                ..Usage::default()
            },
            options,
            error: None,
            times: Times { submitted, started: None, first_token: None },
        }
    }

    /// Tokens that each choice may have.
    pub(crate) fn max_new_tokens(&self) -> usize {
        self.bound.n_tokens
    }

    /// Why a choice that was ended has ended.
    pub(crate) fn finish_reason(&self, index: usize) -> FinishReason {
        let completion = self.choices[index].completion.as_ref();
        completion.map_or(FinishReason::Cancelled, |completion| completion.finish_reason)
    }

    /// Notes that its first step began at `began`, at prompt position `n_cached`.
    pub(crate) fn start(&mut self, n_cached: usize, began: Instant) {
        if self.times.started.is_none() {
            self.times.started = Some(began);
            self.usage.cached_tokens = n_cached;
            self.answer.ticket().run();
        }
    }

    /// How long it has waited, if it had no step yet.
    pub(crate) fn waits(&self) -> Option<Duration> {
        self.times.started.is_none().then(|| self.times.submitted.elapsed())
    }

    /// Which logits of the prompt are wanted.
    pub(crate) fn prompt_logits(&self) -> PromptLogits {
        if self.options.wanted_of_prompt().is_some() { PromptLogits::All } else { PromptLogits::Last }
    }

    /// Scores the prompt's token at a position by the logits `[vocab_size]` before it. Positions that were scored are not
    /// scored again.
    ///
    /// # Errors
    /// If a logit is not finite.
    pub(crate) fn score(
        &mut self,
        (position, token): (usize, TokenId),
        logits: &[f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        if self.options.wanted_of_prompt().is_some() && position == self.prompt_logprobs.len() + 1 {
            let Scratch { raw, candidates, .. } = scratch;
            raw.score(logits, (position, token), &mut self.prompt_logprobs, candidates)?;
        }
        Ok(())
    }

    /// What there is to tell about it at its end.
    pub(crate) fn metrics(&self) -> RequestMetrics {
        let Times { submitted, started, first_token } = self.times;
        let total = submitted.elapsed();
        let since = |at: Instant| at.saturating_duration_since(submitted);
        let completions = self.choices.iter().filter_map(|choice| choice.completion.as_ref());
        let n_most = completions.clone().map(|completion| completion.usage.generated_tokens).max();
        let sum =
            |part: fn(&Usage) -> usize| completions.clone().map(|completion| part(&completion.usage)).sum();
        let intervals = n_most.unwrap_or(0).saturating_sub(1) as u32;
        RequestMetrics {
            queue: started.map(since),
            first_token: first_token.map(since),
            inter_token: first_token.and_then(|first| first.elapsed().checked_div(intervals)),
            total,
            usage: Usage {
                generated_tokens: sum(|usage| usage.generated_tokens),
                drafted_tokens: sum(|usage| usage.drafted_tokens),
                accepted_tokens: sum(|usage| usage.accepted_tokens),
                ..self.usage
            },
            finish_reason: match self.error {
                Some(_) => None,
                None => completions.clone().next().map(|completion| completion.finish_reason),
            },
        }
    }

    /// Draws the next token of a choice from `logits`, `[vocab_size]`, which are changed, and tells the caller. Says
    /// whether the token belongs to the tokens, and whether the choice ends by a stop rule.
    ///
    /// # Errors
    /// If no token can be drawn.
    pub(crate) fn sample(
        &mut self,
        place: &Place<'_>,
        logits: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<Sampled, Error> {
        let Scratch { candidates, counts, raw, event, .. } = scratch;
        let wants_logprobs = wants_logprobs(&self.options, self.select);
        if wants_logprobs {
            raw.keep(logits);
        }
        let draw =
            Draw { seed: self.seed, choice: place.choice as u32, position: place.token_ids.len() as u32 };
        let choice = &mut self.choices[place.choice];
        let constraint = choice.constraint.as_mut();
        let mut history = History::new(place.token_ids, self.usage.prompt_tokens, counts);
        // Filters may be the caller's own.
        let drawn = catch_unwind(AssertUnwindSafe(|| {
            self.chain.sample_within((constraint, logits), &mut history, draw, candidates)
        }));
        let token = drawn.unwrap_or_else(|panic| {
            // Whatever it was in the middle of counting.
            counts.clear();
            Err(Error::FilterPanicked { message: message_of(&*panic) })
        })?;
        let Some(output) = &mut choice.output else {
            return Ok(Sampled { token, is_kept: false, stops: true });
        };
        event.logprob = None;
        event.top_logprobs.clear();
        if wants_logprobs {
            let logprob = raw.append(token, &mut choice.logprobs, candidates);
            if self.options.logprobs.is_some() {
                event.logprob = Some(logprob);
                event.top_logprobs.extend_from_slice(choice.logprobs.last_top());
            }
        }
        event.choice = place.choice;
        let stop = output.push_within(token, choice.constraint.as_mut(), event)?;
        let is_kept = !matches!(stop, Some(FinishReason::Stop | FinishReason::Eos));
        let is_full = output.n_tokens() >= self.bound.n_tokens;
        event.finish_reason = stop.or(is_full.then_some(self.bound.reason));
        choice.finish_reason = event.finish_reason;
        if event.finish_reason.is_some_and(|reason| reason != FinishReason::StopSequence) {
            output.flush(event);
        }
        self.times.first_token.get_or_insert_with(Instant::now);
        self.answer.ticket().push(event);
        Ok(Sampled { token, is_kept, stops: stop.is_some() })
    }

    /// What drafts of a choice were worth; `None` if it wants none.
    pub(crate) fn drafts(&mut self, choice: usize) -> Option<&mut ChoiceDrafts> {
        self.speculate.then(|| &mut self.choices[choice].drafts)
    }

    /// Notes that of `n_drafts` drafts of a choice the first `n_accepted` were accepted.
    pub(crate) fn count_drafts(&mut self, choice: usize, n_drafts: usize, n_accepted: usize) {
        self.choices[choice].drafts.observe(n_drafts, n_accepted);
    }

    /// The token that a choice draws behind `tokens` by the logits of a draft model, with the same options and random
    /// numbers as by those of the model; `None` if none can be drawn.
    pub(crate) fn draft(
        &self,
        choice: usize,
        token_ids: &[TokenId],
        logits: &mut [f32],
        scratch: &mut Scratch,
    ) -> Option<TokenId> {
        let draw = Draw { seed: self.seed, choice: choice as u32, position: token_ids.len() as u32 };
        let mut history = History::new(token_ids, self.usage.prompt_tokens, &mut scratch.counts);
        self.chain.sample(logits, &mut history, draw, &mut scratch.candidates).ok()
    }

    /// Ends a choice that the scheduler has ended: `token_ids` is prompt and output, `reason` why if no token ended it. Gives
    /// how many tokens of the tokens are kept.
    pub(crate) fn end(&mut self, index: usize, token_ids: &[TokenId], reason: FinishReason) -> usize {
        let n_prompt = self.usage.prompt_tokens;
        let choice = &mut self.choices[index];
        let Some(mut output) = choice.output.take() else {
            return token_ids.len();
        };
        let finish_reason = match choice.finish_reason {
            Some(reason) => reason,
            None => {
                let mut event = TokenEvent {
                    choice: index,
                    index: output.n_tokens(),
                    // After an error, the error is what ends a stream.
                    finish_reason: self.error.is_none().then_some(reason),
                    ..TokenEvent::default()
                };
                output.flush(&mut event);
                if self.error.is_none() || !event.text.is_empty() {
                    self.answer.ticket().push(&event);
                }
                reason
            }
        };
        let finished = output.finish(finish_reason);
        let n_kept = (n_prompt + finished.n_tokens).min(token_ids.len());
        let (prompt_tokens, tokens) = token_ids[..n_kept].split_at(n_prompt);
        choice.completion = Some(Completion {
            text: finished.text,
            tokens: tokens.to_vec(),
            prompt_tokens: prompt_tokens.to_vec(),
            finish_reason,
            seed: self.seed,
            usage: Usage {
                generated_tokens: finished.n_generated,
                drafted_tokens: choice.drafts.n_drafted,
                accepted_tokens: choice.drafts.n_accepted,
                ..self.usage
            },
            timings: self.times.timings(),
            logprobs: std::mem::take(&mut choice.logprobs).first(finished.n_tokens),
            prompt_logprobs: self.prompt_logprobs.first(n_prompt),
        });
        n_kept
    }

    /// Whether all its choices have ended.
    pub(crate) fn is_over(&self) -> bool {
        self.choices.iter().all(|choice| choice.completion.is_some())
    }

    /// Whether a choice that is over leaves its session as it was before.
    pub(crate) fn is_rolled_back(&self, reason: FinishReason) -> bool {
        match self.delivery {
            // The caller gets nothing of what was cut short.
            Delivery::Whole => {
                self.error.is_some() || matches!(reason, FinishReason::Cancelled | FinishReason::Timeout)
            }
            // The caller has what was delivered. Where that is nothing, a failed call can be repeated.
            Delivery::Stream => self.error.is_some() && self.times.first_token.is_none(),
        }
    }

    /// Notes that its session has been told something.
    pub(crate) fn has_spoken(&self) {
        if let Some(has_spoken) = &self.has_spoken {
            has_spoken.store(true, Ordering::Relaxed);
        }
    }

    /// Answers the caller.
    pub(crate) fn give_answer(mut self) {
        let outcome = self.outcome();
        // Whoever has the answer finds that it is over.
        drop(self.keep_alive.take());
        self.answer.give(outcome);
    }

    fn outcome(&mut self) -> Result<Vec<Completion>, Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut completions: Vec<Completion> =
            self.choices.iter_mut().filter_map(|choice| choice.completion.take()).collect();
        if self.select == Select::Best {
            completions = best(completions).into_iter().collect();
        }
        if self.options.logprobs.is_none() {
            completions.iter_mut().for_each(|completion| completion.logprobs.clear());
        }
        if self.delivery == Delivery::Stream {
            return Ok(completions);
        }
        let has = |reason| completions.iter().position(|completion| completion.finish_reason == reason);
        match (has(FinishReason::Cancelled), has(FinishReason::Timeout)) {
            (Some(_), _) => Err(Error::Cancelled),
            (None, Some(index)) => {
                let limit_ms = self.options.limits.max_time_ms.unwrap_or_default();
                Err(Error::Timeout { limit_ms, partial: Box::new(completions.swap_remove(index)) })
            }
            (None, None) => Ok(completions),
        }
    }
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampled {
    pub(crate) token: TokenId,
    /// Whether it belongs to the tokens: an end or stop token does not.
    pub(crate) is_kept: bool,
    /// Whether a stop rule matched.
    pub(crate) stops: bool,
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

/// Whether raw log-probabilities are computed: for the caller, or to choose among choices.
fn wants_logprobs(options: &GenerationOptions, select: Select) -> bool {
    options.logprobs.is_some() || select == Select::Best
}

/// The completion with the highest mean log-probability, the first of several.
fn best(completions: Vec<Completion>) -> Option<Completion> {
    let mean = |completion: &Completion| {
        let sum: f64 = completion.logprobs.iter().map(|token| f64::from(token.logprob)).sum();
        if completion.logprobs.is_empty() {
            f64::NEG_INFINITY
        } else {
            sum / completion.logprobs.len() as f64
        }
    };
    completions.into_iter().reduce(|best, next| if mean(&next) > mean(&best) { next } else { best })
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
