//! The end of a request: its completions, metrics and response.

use std::time::Instant;

use sm_tensor::TokenId;

use super::{ActiveRequest, Times};
use crate::engine::request_params::Delivery;
use crate::pooling::Pool;
use crate::{Completion, Error, FinishReason, RequestMetrics, Select, TokenEvent, Usage};

impl ActiveRequest {
    /// Completes a choice that the scheduler has ended. `token_ids` are prompt and output; `reason` applies if no token
    /// ended the choice. Returns how many of the tokens are kept.
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
                    // If the request failed, the error ends the stream.
                    finish_reason: self.error.is_none().then_some(reason),
                    ..TokenEvent::default()
                };
                output.flush(&mut event);
                if self.error.is_none() || !event.text.is_empty() {
                    self.responder.ticket().push(&event);
                }
                reason
            }
        };
        let finished = output.finish(finish_reason);
        let n_kept = (n_prompt + finished.n_tokens).min(token_ids.len());
        let (prompt_tokens, tokens) = token_ids[..n_kept].split_at(n_prompt);
        let logprobs = std::mem::take(&mut choice.logprobs);
        let (logprobs, end) = logprobs.first_and_end(finished.n_tokens, choice.end);
        choice.completion = Some(Completion {
            choice: index,
            text: finished.text,
            tokens: tokens.to_vec(),
            prompt_tokens: prompt_tokens.to_vec(),
            finish_reason,
            stop_sequence: finished.stop_sequence,
            seed: self.seed,
            usage: Usage {
                generated_tokens: finished.n_generated,
                drafted_tokens: choice.drafts.n_drafted,
                accepted_tokens: choice.drafts.n_accepted,
                ..self.usage
            },
            timings: self.times.timings(),
            logprobs,
            end,
            prompt_logprobs: self.prompt_logprobs.first(n_prompt),
            embedding: self.pool.take().map(Pool::finish).unwrap_or_default(),
        });
        n_kept
    }

    /// Whether to restore the session to its state before the call.
    pub(crate) fn is_rolled_back(&self, reason: FinishReason) -> bool {
        match self.delivery {
            // The caller gets nothing from a request that was cut short.
            Delivery::Whole => {
                self.error.is_some() || matches!(reason, FinishReason::Cancelled | FinishReason::Timeout)
            }
            // The caller has what was streamed. If nothing was, a failed call can be repeated.
            Delivery::Stream => self.error.is_some() && self.times.first_token.is_none(),
        }
    }

    /// The metrics of a finished request.
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
            id: self.id,
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

    /// Responds to the caller.
    pub(crate) fn respond(mut self) {
        let outcome = self.outcome();
        // Release first, so that a caller holding the response finds the request gone.
        drop(self.keep_alive.take());
        self.responder.give(outcome);
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
            for completion in &mut completions {
                completion.logprobs.clear();
                completion.end = None;
            }
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

/// The completion with the highest mean log-probability; ties go to the first.
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
