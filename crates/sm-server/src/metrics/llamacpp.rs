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
        let mut counts = self.lock();
        let Counts { now, read } = *counts;
        counts.read = now;
        drop(counts);
        for (name, help, value) in counters(&now, &stats) {
            let counter = Counter::new(format!("llamacpp:{name}"), help)?;
            counter.inc_by(value);
            registry.register(Box::new(counter))?;
        }
        for (name, help, value) in gauges(&now, &read, &stats) {
            let gauge = Gauge::new(format!("llamacpp:{name}"), help)?;
            gauge.set(value);
            registry.register(Box::new(gauge))?;
        }
        Ok(())
    }
}

/// A metric: its name, what it is, and its value.
type Metric = (&'static str, &'static str, f64);

fn counters(now: &Totals, stats: &[EngineStats]) -> [Metric; 10] {
    let n_drafts: u64 = stats.iter().map(|stats| stats.speculation.checks).sum();
    [
        ("prompt_tokens_total", "Number of prompt tokens processed.", now.prompt_tokens as f64),
        ("prompt_tokens_cached_total", "Number of prompt tokens found in the cache.", now.cached_tokens as f64),
        ("prompt_seconds_total", "Prompt process time.", now.prompt_time.as_secs_f64()),
        ("tokens_predicted_total", "Number of generation tokens processed.", now.generated_tokens as f64),
        ("tokens_predicted_seconds_total", "Predict process time.", now.decode_time.as_secs_f64()),
        ("n_decode_total", "Total number of steps.", now.steps as f64),
        ("n_tokens_max", "Largest observed number of tokens of a sequence.", now.longest as f64),
        ("spec_decode_num_drafts_total", "Number of drafts.", n_drafts as f64),
        ("spec_decode_num_draft_tokens_total", "Number of draft tokens.", now.draft_tokens as f64),
        ("spec_decode_num_accepted_tokens_total", "Number of accepted draft tokens.", now.accepted_tokens as f64),
    ]
}

fn gauges(now: &Totals, read: &Totals, stats: &[EngineStats]) -> [Metric; 5] {
    let sum = |of: fn(&EngineStats) -> usize| stats.iter().map(of).sum::<usize>() as f64;
    let rate = |n: u64, time: Duration| if time.is_zero() { 0.0 } else { n as f64 / time.as_secs_f64() };
    let prompt = rate(now.prompt_tokens - read.prompt_tokens, now.prompt_time.saturating_sub(read.prompt_time));
    let decode = rate(now.decoded_tokens - read.decoded_tokens, now.decode_time.saturating_sub(read.decode_time));
    let n_busy = now.step_sequences as f64 / now.steps.max(1) as f64;
    [
        ("prompt_tokens_seconds", "Prompt throughput in tokens/s since the last scrape.", prompt),
        ("predicted_tokens_seconds", "Generation throughput in tokens/s since the last scrape.", decode),
        ("requests_processing", "Number of requests processing.", sum(|stats| stats.running)),
        ("requests_deferred", "Number of requests deferred.", sum(|stats| stats.waiting)),
        ("n_busy_slots_per_decode", "Average number of sequences per step.", n_busy),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_since_the_last_reading() {
        let metrics = LlamaCpp::default();
        metrics.lock().now = Totals {
            prompt_tokens: 100,
            prompt_time: Duration::from_secs(2),
            generated_tokens: 21,
            decoded_tokens: 20,
            decode_time: Duration::from_secs(4),
            ..Totals::default()
        };
        let text = || {
            let registry = Registry::new();
            metrics.read(&[], &registry).unwrap();
            prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
        };
        let first = text();
        for line in [
            "# TYPE llamacpp:tokens_predicted_total counter",
            "llamacpp:tokens_predicted_total 21",
            "llamacpp:prompt_tokens_seconds 50",
            "llamacpp:predicted_tokens_seconds 5",
        ] {
            assert!(first.lines().any(|known| known == line), "{line}\n{first}");
        }
        let second = text();
        assert!(second.contains("llamacpp:predicted_tokens_seconds 0\n"), "{second}");
        assert!(second.contains("llamacpp:prompt_tokens_total 100\n"), "{second}");
    }
}
