//! What metrics are called: by us, and by vLLM, whose names dashboards, autoscalers and the Gateway API's endpoint picker know.

use sm_runtime::FinishReason;

/// What is measured of requests and steps, each a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    FirstToken,
    /// The time of the step that made a token.
    InterToken,
    /// The mean time between tokens of a request.
    PerToken,
    Queue,
    Prefill,
    Decode,
    Total,
    PromptTokens,
    GeneratedTokens,
    StepRows,
}

/// Which tokens of requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Prompt,
    Cached,
    Generated,
}

/// What an engine tells when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Running,
    Waiting,
    /// Share of the pages that requests hold.
    KvUsage,
    PrefixQueries,
    PrefixHits,
    Preemptions,
    RecomputedTokens,
    DraftChecks,
    DraftTokens,
    AcceptedTokens,
    Steps,
    LostEvents,
}

impl Reading {
    /// Whether it only grows.
    pub(super) fn is_counter(self) -> bool {
        !matches!(self, Self::Running | Self::Waiting | Self::KvUsage)
    }
}

/// A set of names.
#[derive(Debug)]
pub(super) struct Names {
    /// The label with the model's name.
    pub(super) model_label: &'static str,
    /// Labels that are always the same.
    pub(super) fixed_label: Option<(&'static str, &'static str)>,
    pub(super) measures: &'static [(Measure, &'static str, &'static str)],
    pub(super) counts: &'static [(Count, &'static str, &'static str)],
    pub(super) readings: &'static [(Reading, &'static str, &'static str)],
    /// Requests by how they ended, and the label for that.
    pub(super) finished: (&'static str, &'static str, &'static str),
    /// Whether reasons are stop, length, abort and error only.
    pub(super) has_few_reasons: bool,
    /// The size and number of pages, as labels of a gauge that is 1.
    pub(super) cache_config: &'static str,
    /// Bytes of memory that a model takes; vLLM has no such name.
    pub(super) memory: Option<&'static str>,
}

/// Ours.
pub(super) const OURS: Names = Names {
    model_label: "model",
    fixed_label: None,
    measures: &[
        (
            Measure::FirstToken,
            "smallmind_time_to_first_token_seconds",
            "Time from submission to the first token",
        ),
        (Measure::InterToken, "smallmind_inter_token_seconds", "Time of the step that made a token"),
        (Measure::PerToken, "smallmind_time_per_token_seconds", "Mean time between the tokens of a request"),
        (Measure::Queue, "smallmind_queue_seconds", "Time from submission to the first step"),
        (Measure::Prefill, "smallmind_prefill_seconds", "Time from the first step to the first token"),
        (Measure::Decode, "smallmind_decode_seconds", "Time from the first token to the end"),
        (Measure::Total, "smallmind_request_seconds", "Time from submission to the end"),
        (Measure::PromptTokens, "smallmind_request_prompt_tokens", "Tokens of a prompt"),
        (Measure::GeneratedTokens, "smallmind_request_generated_tokens", "Tokens generated for a request"),
        (
            Measure::StepRows,
            "smallmind_step_rows",
            "Rows of a step: prompt tokens, one per decoding sequence, drafts",
        ),
    ],
    counts: &[
        (Count::Prompt, "smallmind_prompt_tokens_total", "Tokens of prompts"),
        (Count::Cached, "smallmind_cached_prompt_tokens_total", "Tokens of prompts that were cached"),
        (Count::Generated, "smallmind_generated_tokens_total", "Tokens generated"),
    ],
    readings: &[
        (Reading::Running, "smallmind_sequences_running", "Sequences that take part in steps"),
        (Reading::Waiting, "smallmind_requests_waiting", "Requests in the queue"),
        (
            Reading::KvUsage,
            "smallmind_kv_cache_usage_ratio",
            "Share of the KV cache's pages that requests hold, from 0 to 1",
        ),
        (
            Reading::PrefixQueries,
            "smallmind_prefix_queries_tokens_total",
            "Prompt tokens looked up in the prefix cache",
        ),
        (
            Reading::PrefixHits,
            "smallmind_prefix_hits_tokens_total",
            "Prompt tokens found in the prefix cache",
        ),
        (Reading::Preemptions, "smallmind_preemptions_total", "Sequences that made room for others"),
        (
            Reading::RecomputedTokens,
            "smallmind_recomputed_tokens_total",
            "Positions computed again after that",
        ),
        (Reading::DraftChecks, "smallmind_draft_checks_total", "Verifications of drafts"),
        (Reading::DraftTokens, "smallmind_draft_tokens_total", "Draft tokens verified"),
        (Reading::AcceptedTokens, "smallmind_accepted_draft_tokens_total", "Draft tokens accepted"),
        (Reading::Steps, "smallmind_steps_total", "Steps scheduled"),
        (Reading::LostEvents, "smallmind_lost_events_total", "Measurements lost because a sink panicked"),
    ],
    finished: ("smallmind_requests_finished_total", "finish_reason", "Requests by how they ended"),
    has_few_reasons: false,
    cache_config: "smallmind_kv_cache_config_info",
    memory: Some("smallmind_memory_bytes"),
};

/// Those of vLLM 0.33, `vllm/v1/metrics/loggers.py`.
pub(super) const VLLM: Names = Names {
    model_label: "model_name",
    fixed_label: Some(("engine", "0")),
    measures: &[
        (
            Measure::FirstToken,
            "vllm:time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
        ),
        (
            Measure::InterToken,
            "vllm:inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
        ),
        (
            Measure::PerToken,
            "vllm:request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
        ),
        (
            Measure::Queue,
            "vllm:request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.",
        ),
        (
            Measure::Prefill,
            "vllm:request_prefill_time_seconds",
            "Histogram of time spent in PREFILL phase for request.",
        ),
        (
            Measure::Decode,
            "vllm:request_decode_time_seconds",
            "Histogram of time spent in DECODE phase for request.",
        ),
        (Measure::Total, "vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds."),
        (Measure::PromptTokens, "vllm:request_prompt_tokens", "Number of prefill tokens processed."),
        (
            Measure::GeneratedTokens,
            "vllm:request_generation_tokens",
            "Number of generation tokens processed.",
        ),
        (Measure::StepRows, "vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step."),
    ],
    counts: &[
        (Count::Prompt, "vllm:prompt_tokens_total", "Number of prefill tokens processed."),
        (Count::Cached, "vllm:prompt_tokens_cached_total", "Number of cached prompt tokens."),
        (Count::Generated, "vllm:generation_tokens_total", "Number of generation tokens processed."),
    ],
    readings: &[
        (Reading::Running, "vllm:num_requests_running", "Number of requests in model execution batches."),
        (Reading::Waiting, "vllm:num_requests_waiting", "Number of requests waiting to be processed."),
        (Reading::KvUsage, "vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage."),
        (
            Reading::PrefixQueries,
            "vllm:prefix_cache_queries_total",
            "Prefix cache queries, in terms of number of queried tokens.",
        ),
        (
            Reading::PrefixHits,
            "vllm:prefix_cache_hits_total",
            "Prefix cache hits, in terms of number of cached tokens.",
        ),
        (
            Reading::Preemptions,
            "vllm:num_preemptions_total",
            "Cumulative number of preemption from the engine.",
        ),
        (Reading::DraftChecks, "vllm:spec_decode_num_drafts_total", "Number of spec decoding drafts."),
        (Reading::DraftTokens, "vllm:spec_decode_num_draft_tokens_total", "Number of draft tokens."),
        (Reading::AcceptedTokens, "vllm:spec_decode_num_accepted_tokens_total", "Number of accepted tokens."),
    ],
    finished: ("vllm:request_success_total", "finished_reason", "Count of successfully processed requests."),
    has_few_reasons: true,
    cache_config: "vllm:cache_config_info",
    memory: None,
};

impl Names {
    /// How a request ended. vLLM has fewer words for it.
    pub(super) fn finish_reason(&self, reason: Option<FinishReason>) -> &'static str {
        match reason {
            None => "error",
            Some(reason) if !self.has_few_reasons => reason.name(),
            Some(FinishReason::Length | FinishReason::ContextLimit) => "length",
            Some(FinishReason::Cancelled | FinishReason::Timeout) => "abort",
            Some(_) => "stop",
        }
    }
}

impl Measure {
    /// The upper bounds of its buckets.
    pub(super) fn buckets(self) -> Vec<f64> {
        match self {
            Self::FirstToken | Self::Prefill | Self::Queue => vec![
                0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
                20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
            ],
            // vLLM begins at 0.01 s; a small model is done by then.
            Self::InterToken | Self::PerToken => vec![
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
                1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
            ],
            Self::Decode | Self::Total => vec![
                0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0,
                60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
            ],
            Self::StepRows => {
                [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384].map(f64::from).to_vec()
            }
            Self::PromptTokens | Self::GeneratedTokens => {
                let decades = [1, 10, 100, 1000, 10_000, 100_000];
                decades.iter().flat_map(|n| [1, 2, 5].map(|digit| f64::from(digit * n))).collect()
            }
        }
    }
}
