//! The results of a generation: events while it runs, a completion at the end.

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
    /// The grammar is complete: no token can follow.
    Complete,
    /// The limit of new tokens or of total length was reached.
    Length,
    /// The context is full.
    ContextLimit,
    /// The time limit passed.
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
    /// The choice it belongs to, from 0.
    pub choice: usize,
    /// The sampled token; `None` where the generation ended without one (cancelled, timed out).
    pub token: Option<TokenId>,
    /// Newly released text: whole characters; often empty while a character or a possible stop string is incomplete.
    pub text: String,
    /// Index of the token in the output, from 0.
    pub index: usize,
    /// Natural logarithm of the token's raw probability, if log-probabilities were requested.
    pub logprob: Option<f32>,
    /// The most likely tokens at this position and their log-probabilities, in descending order; as many as
    /// [`GenerationOptions::logprobs`](crate::GenerationOptions::logprobs) requests.
    pub top_logprobs: Vec<(TokenId, f32)>,
    /// Set in the last event.
    pub finish_reason: Option<FinishReason>,
    /// Set in events that tell how far the prompt is and nothing else, of requests that ask for them
    /// ([`Request::report_prefill`](crate::Request::report_prefill)).
    pub prefill: Option<PrefillProgress>,
}

/// How far a prompt is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefillProgress {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those whose keys and values were cached.
    pub cached_tokens: usize,
    /// Those that are computed, the cached ones included.
    pub computed_tokens: usize,
    /// The time since the first step began.
    pub time: Duration,
}

/// A finished generation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Completion {
    /// The choice that it is, from 0: the one to which the [`TokenEvent`]s with this number belong.
    pub choice: usize,
    /// The generated text, without end-of-sequence text, stop strings (by default) and the prompt (unless echoed).
    pub text: String,
    /// The tokens of `text`: no end or stop tokens, and none of a removed stop string.
    pub tokens: Vec<TokenId>,
    /// The prompt as the model saw it, including the context of earlier turns.
    pub prompt_tokens: Vec<TokenId>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The stop string that ended it.
    pub stop_sequence: Option<String>,
    /// The seed, given or drawn; it reproduces the generation.
    pub seed: u64,
    /// Token counts.
    pub usage: Usage,
    /// How long it took.
    pub timings: Timings,
    /// One entry per entry of `tokens`, if requested; otherwise empty.
    pub logprobs: Vec<TokenLogprob>,
    /// The end or stop token that ended it, which is no part of it, if log-probabilities were requested.
    pub end: Option<(TokenId, TokenLogprob)>,
    /// One entry per entry of `prompt_tokens` except the first, which nothing predicts. Empty unless requested, or
    /// echoed with log-probabilities.
    pub prompt_logprobs: Vec<TokenLogprob>,
    /// The pooled hidden states `[hidden_size]` of a prompt that was embedded instead of continued; otherwise empty.
    pub(crate) embedding: Vec<f32>,
}

/// The raw log-probability of a token, before penalties and temperature.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenLogprob {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The most likely tokens, in descending order.
    pub top: Vec<(TokenId, f32)>,
}

/// Token counts of a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Prompt tokens, including the context of earlier turns.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values were already cached.
    pub cached_tokens: usize,
    /// Prompt tokens cut off by [`LongInput::KeepTail`](crate::LongInput::KeepTail).
    pub truncated_tokens: usize,
    /// Sampled tokens, excluding end and stop tokens.
    pub generated_tokens: usize,
    /// Draft tokens verified.
    pub drafted_tokens: usize,
    /// Draft tokens accepted: each saved a step.
    pub accepted_tokens: usize,
    /// Choices generated from the prompt, including this one.
    pub choices: usize,
}

/// How tokens were generated. Does not affect which tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GenerationStrategy {
    /// One token per step.
    Plain,
    /// Drafted, then verified several per step.
    Speculative,
    /// Several choices of one prompt in parallel.
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
    /// Generated tokens per model step: 1 without speculation, 0 if nothing was generated.
    pub fn tokens_per_step(&self) -> f64 {
        let n_steps = self.generated_tokens.saturating_sub(self.accepted_tokens);
        if n_steps == 0 { 0.0 } else { self.generated_tokens as f64 / n_steps as f64 }
    }

    /// Fraction of drafts that were accepted; `None` without drafts.
    pub fn acceptance_rate(&self) -> Option<f64> {
        (self.drafted_tokens > 0).then(|| self.accepted_tokens as f64 / self.drafted_tokens as f64)
    }

    /// How the tokens were generated. If several apply, the last in the order of [`GenerationStrategy`].
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
    /// Prefill, including sampling of the first token.
    pub prefill: Duration,
    /// Everything after the first token.
    pub decode: Duration,
    /// From the call to the first token.
    pub first_token: Duration,
    /// From the call to the end.
    pub total: Duration,
}

impl Timings {
    /// Computed (not cached) prompt tokens per second; 0 if there are none.
    pub fn prefill_tokens_per_second(&self, usage: &Usage) -> f64 {
        per_second(usage.prompt_tokens - usage.cached_tokens, self.prefill)
    }

    /// Generated tokens per second after the first; 0 if there are none.
    pub fn decode_tokens_per_second(&self, usage: &Usage) -> f64 {
        per_second(usage.generated_tokens.saturating_sub(1), self.decode)
    }
}

fn per_second(n_tokens: usize, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { n_tokens as f64 / seconds } else { 0.0 }
}
