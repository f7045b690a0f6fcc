//! What a run of a fleet came to.

use serde::Serialize;

use crate::router::Policy;

/// What is known of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) arrival_us: u64,
    pub(crate) first_token_us: u64,
    pub(crate) end_us: u64,
    pub(crate) n_prompt: u32,
    pub(crate) n_output: u32,
}

/// The figures of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Replicas.
    pub n_replicas: usize,
    /// How requests were routed.
    pub router: String,
    /// Requests served.
    pub n_requests: usize,
    /// From the first arrival to the last token.
    pub seconds: f64,
    /// Tokens of all prompts.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Positions found in caches.
    pub reused_tokens: u64,
    /// Positions computed.
    pub computed_tokens: u64,
    /// Steps of all replicas.
    pub steps: u64,
    /// Sequences in them.
    pub step_sequences: u64,
    /// Time that replicas were in steps, added up.
    pub busy_us: u64,
    /// Times to the first token, in ms: the median and the 99th percentile.
    pub first_token_ms: [f64; 2],
    /// Times to the last token.
    pub request_ms: [f64; 2],
}

impl Report {
    pub(crate) fn of(n_replicas: usize, policy: Policy, times: &[Times]) -> Self {
        let end_us = times.iter().map(|times| times.end_us).max().unwrap_or_default();
        let begin_us = times.iter().map(|times| times.arrival_us).min().unwrap_or_default();
        let percentiles = |until: fn(&Times) -> u64| {
            let mut waits: Vec<u64> =
                times.iter().map(|times| until(times).saturating_sub(times.arrival_us)).collect();
            waits.sort_unstable();
            [0.5, 0.99].map(|share| {
                let index = (share * waits.len() as f64) as usize;
                waits.get(index.min(waits.len().saturating_sub(1))).map_or(0.0, |us| *us as f64 / 1e3)
            })
        };
        let router = match policy {
            Policy::Prefix => "prefix",
            Policy::LeastLoaded => "least-loaded",
            Policy::RoundRobin => "round-robin",
            Policy::Random => "random",
        };
        Self {
            n_replicas,
            router: router.to_owned(),
            n_requests: times.iter().filter(|times| times.end_us > 0).count(),
            seconds: (end_us - begin_us) as f64 / 1e6,
            input_tokens: times.iter().map(|times| u64::from(times.n_prompt)).sum(),
            output_tokens: times.iter().map(|times| u64::from(times.n_output)).sum(),
            first_token_ms: percentiles(|times| times.first_token_us),
            request_ms: percentiles(|times| times.end_us),
            ..Self::default()
        }
    }

    /// Requests served per second.
    pub fn requests_per_second(&self) -> f64 {
        self.n_requests as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Share of the prompts' tokens that were found in a cache.
    pub fn hit_rate(&self) -> f64 {
        self.reused_tokens as f64 / self.input_tokens.max(1) as f64
    }

    /// Share of the time that a replica was in a step.
    pub fn utilization(&self) -> f64 {
        self.busy_us as f64 / 1e6 / (self.seconds * self.n_replicas as f64).max(f64::MIN_POSITIVE)
    }

    /// Mean sequences in a step.
    pub fn mean_batch(&self) -> f64 {
        self.step_sequences as f64 / self.steps.max(1) as f64
    }

    /// Price of a million tokens, of prompts and answers together, if a replica costs `per_hour`.
    pub fn price_per_million(&self, per_hour: f64) -> f64 {
        let tokens_per_hour = (self.input_tokens + self.output_tokens) as f64 / self.seconds * 3600.0;
        per_hour * self.n_replicas as f64 / tokens_per_hour.max(f64::MIN_POSITIVE) * 1e6
    }

    /// The heading of [`Report::row`], in Markdown.
    pub const HEADING: &'static str = "\
| replicas | router | requests | requests/s | tokens/s | prefix hits | batch | busy | first token ms, p50 / p99 | request ms, p50 / p99 | price of 1M tokens |
|---|---|---|---|---|---|---|---|---|---|---|";

    /// The figures as a row of a Markdown table.
    pub fn row(&self, per_hour: f64) -> String {
        let tokens_per_second = (self.input_tokens + self.output_tokens) as f64 / self.seconds;
        format!(
            "| {} | {} | {} | {:.1} | {tokens_per_second:.0} | {:.1} % | {:.2} | {:.0} % | {:.1} / {:.1} | {:.1} / {:.1} | {:.4} |",
            self.n_replicas,
            self.router,
            self.n_requests,
            self.requests_per_second(),
            100.0 * self.hit_rate(),
            self.mean_batch(),
            100.0 * self.utilization(),
            self.first_token_ms[0],
            self.first_token_ms[1],
            self.request_ms[0],
            self.request_ms[1],
            self.price_per_million(per_hour),
        )
    }
}
