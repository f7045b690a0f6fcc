//! The report of `sm generate`: JSON on stdout, or one line on stderr.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use sm_runtime::Completion;
use sm_server::chat::reasoning::{Splitter, split};

use crate::logprob::{Logprob, logprobs};

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    text: Cow<'a, str>,
    /// What the model thought before, if it did.
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning: String,
    tokens: Vec<u32>,
    prompt_tokens: usize,
    drafted_tokens: usize,
    accepted_tokens: usize,
    finish_reason: &'static str,
    seed: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<Logprob>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prompt_logprobs: Vec<Logprob>,
    timings: Timings,
}

/// Times and rates of [`Report`].
#[derive(Debug, Serialize)]
struct Timings {
    load_ms: f64,
    prompt_ms: f64,
    prompt_tokens_per_second: f64,
    generation_ms: f64,
    generation_tokens_per_second: f64,
    first_token_ms: f64,
    total_ms: f64,
}

impl<'a> Report<'a> {
    pub(super) fn new(completion: &'a Completion, splitter: &Splitter, load_time: Duration) -> Self {
        let (reasoning, text) = split(splitter.clone(), &completion.text);
        let Completion { tokens, finish_reason, seed, usage, timings, .. } = completion;
        Self {
            text,
            reasoning,
            tokens: tokens.iter().map(|token| token.0).collect(),
            prompt_tokens: usage.prompt_tokens,
            drafted_tokens: usage.drafted_tokens,
            accepted_tokens: usage.accepted_tokens,
            finish_reason: finish_reason.name(),
            seed: *seed,
            logprobs: logprobs(&completion.logprobs),
            prompt_logprobs: logprobs(&completion.prompt_logprobs),
            timings: Timings {
                load_ms: milliseconds(load_time),
                prompt_ms: milliseconds(timings.prefill),
                prompt_tokens_per_second: timings.prefill_tokens_per_second(usage),
                generation_ms: milliseconds(timings.decode),
                generation_tokens_per_second: timings.decode_tokens_per_second(usage),
                first_token_ms: milliseconds(timings.first_token),
                total_ms: milliseconds(timings.total),
            },
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The line on stderr.
pub(super) fn summary(completions: &[Completion], load_time: Duration) -> String {
    let Some(first) = completions.first() else { return String::new() };
    let n_generated: usize = completions.iter().map(|each| each.usage.generated_tokens).sum();
    // The prompt's time includes the first token of each output.
    let n_timed: usize = completions.iter().map(|each| each.usage.generated_tokens.saturating_sub(1)).sum();
    let seconds = completions.iter().map(|each| each.timings.decode.as_secs_f64()).fold(0.0, f64::max);
    let mut reasons: Vec<&str> = completions.iter().map(|each| each.finish_reason.name()).collect();
    reasons.dedup();
    let n_drafted: usize = completions.iter().map(|each| each.usage.drafted_tokens).sum();
    let n_accepted: usize = completions.iter().map(|each| each.usage.accepted_tokens).sum();
    let drafted = match n_drafted {
        0 => String::new(),
        _ => format!(" | {n_accepted} of {n_drafted} drafts accepted"),
    };
    format!(
        "load {:.2} s | prompt {} tokens, {:.1} tok/s | generated {n_generated} tokens, {:.1} tok/s{drafted} | seed {} | {}",
        load_time.as_secs_f64(),
        first.usage.prompt_tokens,
        first.timings.prefill_tokens_per_second(&first.usage),
        if seconds > 0.0 { n_timed as f64 / seconds } else { 0.0 },
        first.seed,
        reasons.join(", "),
    )
}
