//! How long prompt and answer took, and how far the prompt is.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sm_runtime::{Completion, PrefillProgress, TokenEvent};

/// How long prompt and answer took.
pub fn timings(completion: &Completion) -> Value {
    let (usage, timings) = (&completion.usage, &completion.timings);
    let figures = Figures {
        n_cached: usage.cached_tokens,
        n_prompt: usage.prompt_tokens - usage.cached_tokens,
        n_generated: usage.generated_tokens,
        prefill: timings.prefill,
        decode: timings.decode,
    };
    let mut timings = figures.value();
    if usage.drafted_tokens > 0 {
        timings["draft_n"] = usage.drafted_tokens.into();
        timings["draft_n_accepted"] = usage.accepted_tokens.into();
    }
    timings
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    n_cached: usize,
    /// Prompt tokens that were computed.
    n_prompt: usize,
    n_generated: usize,
    prefill: Duration,
    decode: Duration,
}

impl Figures {
    /// The first token comes with the last step of the prompt, so it is no part of the decoding.
    fn value(&self) -> Value {
        let Self { n_cached, n_prompt, n_generated, prefill, decode } = *self;
        let [prompt_ms, predicted_ms] = [prefill, decode].map(|time| time.as_secs_f64() * 1e3);
        let n_steps = n_generated.saturating_sub(1);
        let per = |amount: f64, of: f64| if of > 0.0 { amount / of } else { 0.0 };
        json!({
            "cache_n": n_cached,
            "prompt_n": n_prompt,
            "prompt_ms": prompt_ms,
            "prompt_per_token_ms": per(prompt_ms, n_prompt as f64),
            "prompt_per_second": per(n_prompt as f64 * 1e3, prompt_ms),
            "predicted_n": n_generated,
            "predicted_ms": predicted_ms,
            "predicted_per_token_ms": if n_steps > 0 { predicted_ms / n_steps as f64 } else { 0.0 },
            "predicted_per_second": if n_steps > 0 { per(n_steps as f64 * 1e3, predicted_ms) } else { 0.0 },
        })
    }
}

/// The times of a stream so far, of a request that reports the progress of its prompt.
#[derive(Clone, Debug, Default)]
pub struct RunningTimings {
    figures: Option<Figures>,
    /// When the first token came.
    first_token: Option<Instant>,
}

impl RunningTimings {
    /// Notes an event when it comes.
    pub fn note(&mut self, event: &TokenEvent) {
        if let Some(progress) = event.prefill {
            let PrefillProgress { cached_tokens, computed_tokens, time, .. } = progress;
            let figures = self.figures.get_or_insert_default();
            figures.n_cached = cached_tokens;
            figures.n_prompt = computed_tokens.saturating_sub(cached_tokens);
            figures.prefill = time;
        } else if let (Some(figures), Some(_)) = (&mut self.figures, event.token) {
            figures.n_generated += 1;
            figures.decode = self.first_token.get_or_insert_with(Instant::now).elapsed();
        }
    }

    /// As [`timings`]; `None` before anything is known.
    pub fn value(&self) -> Option<Value> {
        self.figures.as_ref().map(Figures::value)
    }
}

/// How far a prompt is.
pub fn prompt_progress(progress: PrefillProgress) -> Value {
    let PrefillProgress { prompt_tokens, cached_tokens, computed_tokens, time, .. } = progress;
    json!({
        "total": prompt_tokens,
        "cache": cached_tokens,
        "processed": computed_tokens,
        "time_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    })
}
