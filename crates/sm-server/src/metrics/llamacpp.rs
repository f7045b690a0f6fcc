//! The metrics of llama.cpp's server: sums over all models, without labels.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{Counter, Gauge, Registry};
use sm_runtime::{Engine, EngineStats, RequestMetrics, StepMetrics};

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct LlamaCpp(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    now: Totals,
    /// When they were last read: rates are those since then.
    read: Totals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    prompt_tokens: u64,
    cached_tokens: u64,
    prompt_time: Duration,
    generated_tokens: u64,
    /// Without the first tokens of answers, which come with the prompts' last steps.
    decoded_tokens: u64,
    decode_time: Duration,
    draft_tokens: u64,
    accepted_tokens: u64,
    steps: u64,
    step_sequences: u64,
    longest: u64,
}

impl LlamaCpp {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn step(&self, step: &StepMetrics) {
        let totals = &mut self.lock().now;
        totals.steps += 1;
        totals.step_sequences += step.sequences as u64;
    }

    pub(super) fn request(&self, request: &RequestMetrics) {
        let RequestMetrics { queue, first_token, total, usage, .. } = *request;
        let totals = &mut self.lock().now;
        totals.prompt_tokens += (usage.prompt_tokens - usage.cached_tokens) as u64;
        totals.cached_tokens += usage.cached_tokens as u64;
        totals.generated_tokens += usage.generated_tokens as u64;
        totals.decoded_tokens += usage.generated_tokens.saturating_sub(usage.choices) as u64;
        totals.draft_tokens += usage.drafted_tokens as u64;
        totals.accepted_tokens += usage.accepted_tokens as u64;
        totals.longest = totals.longest.max((usage.prompt_tokens + usage.generated_tokens) as u64);
        if let Some(first_token) = first_token {
            totals.prompt_time += first_token.saturating_sub(queue.unwrap_or_default());
            totals.decode_time += total.saturating_sub(first_token);
        }
    }

    /// Adds the metrics to a registry.
    pub(super) fn read(
        &self,
        engines: &[(String, Engine)],
        registry: &Registry,
    ) -> Result<(), prometheus::Error> {
        let stats: Vec<EngineStats> = engines.iter().map(|(_, engine)| engine.stats()).collect();
        let sum = |of: fn(&EngineStats) -> u64| stats.iter().map(of).sum::<u64>() as f64;
        let mut counts = self.lock();
        let Counts { now, read } = *counts;
        counts.read = now;
        drop(counts);
        let rate = |n: u64, time: Duration| if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() };
        for (name, help, value) in [
            ("prompt_tokens_total", "Number of prompt tokens processed.", now.prompt_tokens as f64),
            (
                "prompt_tokens_cached_total",
                "Number of prompt tokens found in the cache.",
                now.cached_tokens as f64,
            ),
            ("prompt_seconds_total", "Prompt process time.", now.prompt_time.as_secs_f64()),
            ("tokens_predicted_total", "Number of generation tokens processed.", now.generated_tokens as f64),
            ("tokens_predicted_seconds_total", "Predict process time.", now.decode_time.as_secs_f64()),
            ("n_decode_total", "Total number of steps.", now.steps as f64),
            ("n_tokens_max", "Largest observed number of tokens of a sequence.", now.longest as f64),
            ("spec_decode_num_drafts_total", "Number of drafts.", sum(|stats| stats.speculation.checks)),
            ("spec_decode_num_draft_tokens_total", "Number of draft tokens.", now.draft_tokens as f64),
            (
                "spec_decode_num_accepted_tokens_total",
                "Number of accepted draft tokens.",
                now.accepted_tokens as f64,
            ),
        ] {
            let counter = Counter::new(format!("llamacpp:{name}"), help)?;
            counter.inc_by(value);
            registry.register(Box::new(counter))?;
        }
        let prompt_rate =
            rate(now.prompt_tokens - read.prompt_tokens, now.prompt_time.saturating_sub(read.prompt_time));
        let decode_rate =
            rate(now.decoded_tokens - read.decoded_tokens, now.decode_time.saturating_sub(read.decode_time));
        for (name, help, value) in [
            ("prompt_tokens_seconds", "Prompt throughput in tokens/s since the last scrape.", prompt_rate),
            (
                "predicted_tokens_seconds",
                "Generation throughput in tokens/s since the last scrape.",
                decode_rate,
            ),
            ("requests_processing", "Number of requests processing.", sum(|stats| stats.running as u64)),
            ("requests_deferred", "Number of requests deferred.", sum(|stats| stats.waiting as u64)),
            (
                "n_busy_slots_per_decode",
                "Average number of sequences per step.",
                now.step_sequences as f64 / now.steps.max(1) as f64,
            ),
        ] {
            let gauge = Gauge::new(format!("llamacpp:{name}"), help)?;
            gauge.set(value);
            registry.register(Box::new(gauge))?;
        }
        Ok(())
    }
}
