//! Sampling for one request: next tokens, draft tokens and prompt scores.
//!
//! A token is a function of the request's options, its tokens so far, the logits and `(seed, choice, position)`; see
//! [`crate::sampling`]. Filters may be the caller's own code, so a panic in one fails this request alone.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use sm_batching::Wanted;
use sm_kernels::plan::StepOutput;
use sm_tensor::TokenId;

use super::{ActiveRequest, wants_logprobs};
use crate::grammar::Constraint;
use crate::sampling::{Candidates, Draw, History, RawLogits, SamplerChain};
use crate::{Error, FinishReason, TokenEvent};

/// Buffers for sampling, reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct SamplingBuffers {
    candidates: Candidates,
    counts: Vec<u32>,
    raw: RawLogits,
    event: TokenEvent,
    /// Copy of logits from which several choices draw.
    shared: Vec<f32>,
    /// A sequence's tokens, then its accepted drafts.
    pub(crate) tokens: Vec<TokenId>,
}

impl SamplingBuffers {
    /// Saves logits from which several choices will draw.
    pub(crate) fn keep_shared(&mut self, logits: &[f32]) {
        self.shared.clear();
        self.shared.extend_from_slice(logits);
    }

    /// Restores them: sampling modifies logits in place.
    pub(crate) fn restore_shared(&self, logits: &mut [f32]) {
        logits.copy_from_slice(&self.shared);
    }
}

/// The position for which a token is drawn.
pub(crate) struct DrawPosition<'a> {
    pub(crate) choice: usize,
    /// The prompt and the output so far.
    pub(crate) token_ids: &'a [TokenId],
}

/// What the model gave for the position before.
#[derive(Debug)]
pub(crate) enum ModelOutput<'a> {
    /// `[vocab_size]`
    Logits(&'a mut [f32]),
    /// The largest, which is all that greedy requests without penalties, grammars and log-probabilities need.
    ArgMax(TokenId, f32),
    /// As many of the largest as are sampled from.
    Top(&'a [(TokenId, f32)]),
}

impl<'a> ModelOutput<'a> {
    /// Of a row of a step, which gives what its request wants.
    pub(crate) fn of_row(output: &'a mut StepOutput, row: usize, wanted: Wanted) -> Self {
        match wanted {
            Wanted::ArgMax => {
                let (token, logit) = output.arg_max(row);
                Self::ArgMax(token, logit)
            }
            Wanted::TopK(_) => Self::Top(output.top(row)),
            _ => Self::Logits(output.logits_mut(row)),
        }
    }
}

/// A sampled token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampled {
    pub(crate) token: TokenId,
    /// Whether it is part of the output; end-of-sequence and stop tokens are not.
    pub(crate) is_kept: bool,
    /// Whether a stop rule matched.
    pub(crate) stops: bool,
}

impl ActiveRequest {
    /// Scores the prompt token at a position with the logits `[vocab_size]` of the position before. Each position is
    /// scored once.
    ///
    /// # Errors
    /// If a logit is not finite.
    pub(crate) fn score(
        &mut self,
        position: usize,
        token: TokenId,
        logits: &[f32],
        buffers: &mut SamplingBuffers,
    ) -> Result<(), Error> {
        if self.options.wanted_of_prompt().is_some() && position == self.prompt_logprobs.len() + 1 {
            let SamplingBuffers { raw, candidates, .. } = buffers;
            raw.score(logits, (position, token), &mut self.prompt_logprobs, candidates)?;
        }
        Ok(())
    }

    /// Takes the hidden state `[hidden_size]` of a position, if the prompt is embedded. Its last one completes the request.
    pub(crate) fn pool(&mut self, position: usize, hidden: &[f32]) {
        let Some(pool) = &mut self.pool else { return };
        pool.add(position, hidden);
        if position + 1 == self.usage.prompt_tokens {
            self.times.first_token.get_or_insert_with(Instant::now);
            self.choices[0].finish_reason = Some(FinishReason::Length);
        }
    }

    /// Samples the next token of a choice from what the model gave, which it modifies, and sends it to the caller.
    ///
    /// # Errors
    /// If no token can be sampled.
    pub(crate) fn sample(
        &mut self,
        at: &DrawPosition<'_>,
        from: ModelOutput<'_>,
        buffers: &mut SamplingBuffers,
    ) -> Result<Sampled, Error> {
        let wants_logprobs = wants_logprobs(&self.options, self.select);
        let token = match from {
            ModelOutput::ArgMax(token, logit) if logit.is_finite() => token,
            ModelOutput::ArgMax(token, value) => {
                let (token, position) = (token.0 as usize, at.token_ids.len());
                return Err(Error::InvalidLogits { value, token, position });
            }
            ModelOutput::Top(first) => self.draw(at, buffers, |chain, _, history, draw, candidates| {
                chain.sample_first(first, history, draw, candidates)
            })?,
            ModelOutput::Logits(logits) => {
                if wants_logprobs {
                    buffers.raw.keep(logits);
                }
                self.draw(at, buffers, |chain, constraint, history, draw, candidates| {
                    chain.sample_within(constraint, logits, history, draw, candidates)
                })?
            }
        };
        let SamplingBuffers { candidates, raw, event, .. } = buffers;
        let choice = &mut self.choices[at.choice];
        let Some(output) = &mut choice.output else {
            return Ok(Sampled { token, is_kept: false, stops: true });
        };
        event.logprob = None;
        event.top_logprobs.clear();
        if wants_logprobs {
            let of = self.options.logprobs_of;
            let logprob = raw.append_drawn(of, token, &mut choice.logprobs, candidates);
            if self.options.logprobs.is_some() {
                event.logprob = Some(logprob);
                event.top_logprobs.extend_from_slice(choice.logprobs.last_top());
            }
        }
        event.choice = at.choice;
        let stop = output.push_within(token, choice.constraint.as_mut(), event)?;
        let is_kept = !matches!(stop, Some(FinishReason::Stop | FinishReason::Eos));
        let is_full = output.n_tokens() >= self.bound.n_tokens;
        event.finish_reason = stop.or(is_full.then_some(self.bound.reason));
        choice.finish_reason = event.finish_reason;
        choice.end = (!is_kept).then_some(token);
        if event.finish_reason.is_some_and(|reason| reason != FinishReason::StopSequence) {
            output.flush(event);
        }
        self.times.first_token.get_or_insert_with(Instant::now);
        self.responder.ticket().push(event);
        Ok(Sampled { token, is_kept, stops: stop.is_some() })
    }

    /// Draws a token by `sample`.
    fn draw(
        &mut self,
        at: &DrawPosition<'_>,
        buffers: &mut SamplingBuffers,
        sample: impl FnOnce(
            &SamplerChain,
            Option<&mut Constraint>,
            &mut History<'_>,
            Draw,
            &mut Candidates,
        ) -> Result<TokenId, Error>,
    ) -> Result<TokenId, Error> {
        let SamplingBuffers { candidates, counts, .. } = buffers;
        let draw = Draw { seed: self.seed, choice: at.choice as u32, position: at.token_ids.len() as u32 };
        let choice = &mut self.choices[at.choice];
        let constraint = choice.constraint.as_mut();
        let mut history =
            History::new(at.token_ids, self.usage.prompt_tokens, counts).with_mirostat(&mut choice.mirostat);
        let drawn = catch_unwind(AssertUnwindSafe(|| {
            sample(&self.chain, constraint, &mut history, draw, candidates)
        }));
        drawn.unwrap_or_else(|panic| {
            // The panic may have left partial counts.
            counts.clear();
            Err(Error::FilterPanicked { message: message_of(&*panic) })
        })
    }

    /// Samples the token after `token_ids` from the logits of a draft model, with the same options and noise as for the
    /// target model; `None` if no token can be sampled.
    pub(crate) fn draft(
        &self,
        choice: usize,
        token_ids: &[TokenId],
        logits: &mut [f32],
        buffers: &mut SamplingBuffers,
    ) -> Option<TokenId> {
        let draw = Draw { seed: self.seed, choice: choice as u32, position: token_ids.len() as u32 };
        // A draft is a guess: what it would do to the state counts only once the model has drawn it too.
        let mut mirostat = self.choices[choice].mirostat;
        let mut history = History::new(token_ids, self.usage.prompt_tokens, &mut buffers.counts)
            .with_mirostat(&mut mirostat);
        self.chain.sample(logits, &mut history, draw, &mut buffers.candidates).ok()
    }
}

/// The message of a panic.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
