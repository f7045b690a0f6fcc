//! Answers, at once and as lines of a stream.

use std::time::Duration;

use serde::Serialize;
use sm_runtime::{Completion, TokenEvent};

use super::body::Task;
use super::extract::{last_code_block, math_answer};

/// The answer to `/generate` or `/solve/*`.
#[derive(Debug, Serialize)]
pub struct Answer {
    #[serde(flatten)]
    subject: Subject,
    /// Seconds from the request to the end.
    generation_time: f64,
    tokens_generated: usize,
    input_tokens: usize,
    output_tokens: usize,
    finish_reason: &'static str,
    /// Repeats the generation.
    seed: u64,
    metrics: Metrics,
    /// All sequences, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    generated_texts: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Subject {
    Text { prompt: String, generated_text: String, text: String },
    Math { problem: String, solution: String, answer: Option<String> },
    Coding { problem: String, solution: String, code: Option<String> },
}

/// Where the time went.
#[derive(Debug, Serialize)]
struct Metrics {
    prefill_ms: f64,
    decode_ms: f64,
    first_token_ms: f64,
    total_ms: f64,
    tokens_per_second: f64,
    cached_tokens: usize,
    drafted_tokens: usize,
    accepted_tokens: usize,
}

impl Answer {
    /// The answer to a text, of the request's completions; `None` without any.
    pub fn new(task: Task, text: &str, completions: Vec<Completion>) -> Option<Self> {
        let first = completions.first()?;
        let n_generated = completions.iter().map(|each| each.usage.generated_tokens).sum();
        let (timings, usage) = (first.timings, first.usage);
        let metrics = Metrics {
            prefill_ms: ms(timings.prefill),
            decode_ms: ms(timings.decode),
            first_token_ms: ms(timings.first_token),
            total_ms: ms(timings.total),
            tokens_per_second: n_generated as f64 / timings.total.as_secs_f64().max(1e-9),
            cached_tokens: usage.cached_tokens,
            drafted_tokens: usage.drafted_tokens,
            accepted_tokens: usage.accepted_tokens,
        };
        let (finish_reason, seed) = (first.finish_reason.name(), first.seed);
        let texts: Vec<String> = completions.into_iter().map(|completion| completion.text).collect();
        Some(Self {
            subject: Subject::new(task, text, texts[0].clone()),
            generation_time: timings.total.as_secs_f64(),
            tokens_generated: n_generated,
            input_tokens: usage.prompt_tokens,
            output_tokens: n_generated,
            finish_reason,
            seed,
            metrics,
            generated_texts: if texts.len() > 1 { texts } else { Vec::new() },
        })
    }
}

impl Subject {
    fn new(task: Task, asked: &str, text: String) -> Self {
        let asked = asked.to_owned();
        match task {
            Task::Generate => Self::Text { prompt: asked, generated_text: text.clone(), text },
            Task::Math => Self::Math { problem: asked, answer: math_answer(&text), solution: text },
            Task::Coding => Self::Coding { problem: asked, code: last_code_block(&text), solution: text },
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A line of a stream: a token, or the end of a sequence.
#[derive(Debug, Serialize)]
pub struct NdjsonLine {
    token_id: Option<u32>,
    text: String,
    index: usize,
    log_prob: Option<f32>,
    finish_reason: Option<&'static str>,
    /// The sequence that it belongs to, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<usize>,
}

impl NdjsonLine {
    /// The line of an event of a request for `n` sequences.
    pub fn new(event: TokenEvent, n: usize) -> Self {
        Self {
            token_id: event.token.map(|token| token.0),
            text: event.text,
            index: event.index,
            log_prob: event.logprob,
            finish_reason: event.finish_reason.map(|reason| reason.name()),
            sequence: (n > 1).then_some(event.choice),
        }
    }
}
