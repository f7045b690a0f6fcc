//! What a generation gives back: events while it runs, a completion at its end.

use std::fmt;
use std::time::Duration;

use sm_tensor::TokenId;

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// A token of [`StopRules::token_ids`](crate::StopRules::token_ids) was sampled.
    Stop,
    /// The model's end-of-sequence token was sampled.
    Eos,
    /// A stop string appeared in the text.
    StopSequence,
    /// What the grammar describes is complete: nothing could follow.
    Complete,
    /// The number of new tokens, or the total length, was reached.
    Length,
    /// The context is full.
    ContextLimit,
    /// The time was over.
    Timeout,
    /// The caller cancelled.
    Cancelled,
}

impl FinishReason {
    /// The name in machine-readable output: `stop`, `eos`, `stop_sequence`, `complete`, `length`, `context_limit`, `timeout` or
    /// `cancelled`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Eos => "eos",
            Self::StopSequence => "stop_sequence",
            Self::Complete => "complete",
            Self::Length => "length",
            Self::ContextLimit => "context_limit",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One step of a streamed generation.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TokenEvent {
    /// Which of the request's continuations it belongs to, from 0.
    pub choice: usize,
    /// The sampled token; `None` where the generation ended without one (cancelled, timed out).
    pub token: Option<TokenId>,
    /// What the text grew by: whole characters, often empty while a character or a stop string is incomplete.
    pub text: String,
    /// Index of the token in the output, from 0.
    pub index: usize,
    /// Natural logarithm of the token's raw probability, if log-probabilities were asked for.
    pub logprob: Option<f32>,
    /// The likeliest tokens in its place and their log-probabilities, falling: as many as
    /// [`GenerationOptions::logprobs`](crate::GenerationOptions::logprobs) asks for.
    pub top_logprobs: Vec<(TokenId, f32)>,
    /// Set in the last event.
    pub finish_reason: Option<FinishReason>,
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// The generated text, without end-of-sequence text, (by default) stop strings and, unless it is echoed, the prompt.
    pub text: String,
    /// The tokens of the text: no end or stop token, nothing of a removed stop string.
    pub tokens: Vec<TokenId>,
    /// The prompt as the model saw it, context of earlier turns included.
    pub prompt_tokens: Vec<TokenId>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The seed that repeats it, given or drawn.
    pub seed: u64,
    /// How many tokens were handled.
    pub usage: Usage,
    /// How long it took.
    pub timings: Timings,
    /// One entry per entry of `tokens`, if asked for; else empty.
    pub logprobs: Vec<TokenLogprob>,
    /// One entry per entry of `prompt_tokens` after the first, before which there is nothing, if asked for, or echoed with
    /// log-probabilities; else empty.
    pub prompt_logprobs: Vec<TokenLogprob>,
}

/// The raw log-probability of a token, before penalties and temperature.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenLogprob {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The likeliest tokens, falling.
    pub top: Vec<(TokenId, f32)>,
}

/// How many tokens a generation handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, context of earlier turns included.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were kept from earlier turns.
    pub cached_tokens: usize,
    /// Prompt tokens cut off by [`LongInput::KeepTail`](crate::LongInput::KeepTail).
    pub truncated_tokens: usize,
    /// Sampled tokens, end and stop tokens not counted.
    pub generated_tokens: usize,
    /// Guesses that steps have checked.
    pub drafted_tokens: usize,
    /// Generated tokens that were guessed: each saved a step.
    pub accepted_tokens: usize,
    /// Continuations of the prompt that were generated together, this one included.
    pub choices: usize,
}

/// How tokens came about. It changes none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GenerationStrategy {
    /// One by one.
    Plain,
    /// Guessed, and several checked in a step.
    Speculative,
    /// Several continuations of one prompt beside each other.
    Parallel,
}

impl GenerationStrategy {
    /// The name in machine-readable output: `plain`, `speculative` or `parallel`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Speculative => "speculative",
            Self::Parallel => "parallel",
        }
    }
}

impl Usage {
    /// Generated tokens per step of the model, 1 without speculation; 0 without any.
    pub fn tokens_per_step(&self) -> f64 {
        let n_steps = self.generated_tokens.saturating_sub(self.accepted_tokens);
        if n_steps == 0 { 0.0 } else { self.generated_tokens as f64 / n_steps as f64 }
    }

    /// Share of the guesses that were right; `None` without any.
    pub fn acceptance_rate(&self) -> Option<f64> {
        (self.drafted_tokens > 0).then(|| self.accepted_tokens as f64 / self.drafted_tokens as f64)
    }

    /// How the tokens came about; of several that hold, the last in the order of [`GenerationStrategy`].
    pub fn strategy(&self) -> GenerationStrategy {
        match (self.choices, self.drafted_tokens) {
            (2.., _) => GenerationStrategy::Parallel,
            (_, 1..) => GenerationStrategy::Speculative,
            _ => GenerationStrategy::Plain,
        }
    }
}

/// How long a generation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// Steps over the prompt, and sampling of the first token.
    pub prefill: Duration,
    /// All that follows the first token.
    pub decode: Duration,
    /// From the call to the first token.
    pub first_token: Duration,
    /// From the call to the end.
    pub total: Duration,
}

impl Timings {
    /// Prompt tokens per second that were really computed; 0 without any.
    pub fn prefill_tokens_per_second(&self, usage: &Usage) -> f64 {
        per_second(usage.prompt_tokens - usage.cached_tokens, self.prefill)
    }

    /// Generated tokens per second after the first; 0 without any.
    pub fn decode_tokens_per_second(&self, usage: &Usage) -> f64 {
        per_second(usage.generated_tokens.saturating_sub(1), self.decode)
    }
}

fn per_second(n_tokens: usize, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { n_tokens as f64 / seconds } else { 0.0 }
}
