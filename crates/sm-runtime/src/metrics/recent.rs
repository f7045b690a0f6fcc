//! Recent measurements of an engine.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Distribution, MetricsSink, RequestMetrics, StepMetrics, Window};
use crate::FinishReason;

/// Window length of each distribution.
const WINDOW: usize = 1000;

/// Keeps the last 1,000 values of each measurement. Share it in an `Arc`: one for the engine, one to read.
#[derive(Debug)]
pub struct RecentMetrics {
    since: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: u64,
    failed: u64,
    tokens: u64,
    step_ms: Window,
    schedule_ms: Window,
    compute_ms: Window,
    sample_ms: Window,
    commit_ms: Window,
    batch_size: Window,
    tokens_per_second: Window,
    queue_depth: Window,
    queue_ms: Window,
    first_token_ms: Window,
    inter_token_ms: Window,
    total_ms: Window,
}

/// A summary of [`RecentMetrics`]. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecentSummary {
    /// Seconds since creation.
    pub seconds: f64,
    /// Requests that ended.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Generated tokens.
    pub tokens: u64,
    /// Step time.
    pub step_ms: Distribution,
    /// See [`StepPhases::schedule`](crate::StepPhases::schedule).
    pub schedule_ms: Distribution,
    /// See [`StepPhases::compute`](crate::StepPhases::compute).
    pub compute_ms: Distribution,
    /// See [`StepPhases::sample`](crate::StepPhases::sample).
    pub sample_ms: Distribution,
    /// See [`StepPhases::commit`](crate::StepPhases::commit).
    pub commit_ms: Distribution,
    /// Sequences per step.
    pub batch_size: Distribution,
    /// Tokens per second of each step that generated any.
    pub tokens_per_second: Distribution,
    /// Requests queued during a step.
    pub queue_depth: Distribution,
    /// Time from submission to the first step.
    pub queue_ms: Distribution,
    /// Time from the submission to the first token.
    pub first_token_ms: Distribution,
    /// Mean time between tokens, per request.
    pub inter_token_ms: Distribution,
    /// Time from submission to the end, excluding failed, cancelled and timed-out requests.
    pub total_ms: Distribution,
}

impl RecentSummary {
    /// Requests per second since creation.
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Tokens per second since creation.
    pub fn generated_tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

impl Default for RecentMetrics {
    fn default() -> Self {
        let window = || Window::new(WINDOW);
        let state = State {
            requests: 0,
            failed: 0,
            tokens: 0,
            step_ms: window(),
            schedule_ms: window(),
            compute_ms: window(),
            sample_ms: window(),
            commit_ms: window(),
            batch_size: window(),
            tokens_per_second: window(),
            queue_depth: window(),
            queue_ms: window(),
            first_token_ms: window(),
            inter_token_ms: window(),
            total_ms: window(),
        };
        Self { since: Instant::now(), state: Mutex::new(state) }
    }
}

impl RecentMetrics {
    /// Summarizes the measurements so far.
    pub fn summary(&self) -> RecentSummary {
        let state = self.lock();
        RecentSummary {
            seconds: self.since.elapsed().as_secs_f64(),
            requests: state.requests,
            failed: state.failed,
            tokens: state.tokens,
            step_ms: state.step_ms.distribution(),
            schedule_ms: state.schedule_ms.distribution(),
            compute_ms: state.compute_ms.distribution(),
            sample_ms: state.sample_ms.distribution(),
            commit_ms: state.commit_ms.distribution(),
            batch_size: state.batch_size.distribution(),
            tokens_per_second: state.tokens_per_second.distribution(),
            queue_depth: state.queue_depth.distribution(),
            queue_ms: state.queue_ms.distribution(),
            first_token_ms: state.first_token_ms.distribution(),
            inter_token_ms: state.inter_token_ms.distribution(),
            total_ms: state.total_ms.distribution(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetricsSink for RecentMetrics {
    fn step(&self, step: &StepMetrics) {
        let mut state = self.lock();
        state.step_ms.push(ms(step.time));
        state.schedule_ms.push(ms(step.phases.schedule));
        state.compute_ms.push(ms(step.phases.compute));
        state.sample_ms.push(ms(step.phases.sample));
        state.commit_ms.push(ms(step.phases.commit));
        state.batch_size.push(step.sequences as f64);
        state.queue_depth.push(step.waiting as f64);
        state.tokens += step.tokens;
        if step.tokens > 0 {
            let seconds = step.time.as_secs_f64().max(1e-9);
            state.tokens_per_second.push(step.tokens as f64 / seconds);
        }
    }

    fn request(&self, request: &RequestMetrics) {
        let mut state = self.lock();
        state.requests += 1;
        if let Some(time) = request.queue {
            state.queue_ms.push(ms(time));
        }
        if let Some(time) = request.first_token {
            state.first_token_ms.push(ms(time));
        }
        if let Some(time) = request.inter_token {
            state.inter_token_ms.push(ms(time));
        }
        match request.finish_reason {
            None => state.failed += 1,
            Some(FinishReason::Timeout | FinishReason::Cancelled) => {}
            Some(_) => state.total_ms.push(ms(request.total)),
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Usage;

    #[test]
    fn totals_are_of_requests_that_came_to_their_own_end() {
        let metrics = RecentMetrics::default();
        let end = |finish_reason, milliseconds| {
            let total = Duration::from_millis(milliseconds);
            let (queue, first_token, inter_token, usage) = (None, None, None, Usage::default());
            metrics.request(&RequestMetrics { queue, first_token, inter_token, total, usage, finish_reason });
        };
        for (milliseconds, reason) in [
            (1, FinishReason::Stop),
            (2, FinishReason::Eos),
            (3, FinishReason::StopSequence),
            (4, FinishReason::Length),
            (5, FinishReason::ContextLimit),
        ] {
            end(Some(reason), milliseconds);
        }
        for reason in [None, Some(FinishReason::Timeout), Some(FinishReason::Cancelled)] {
            end(reason, 1_000_000);
        }
        let summary = metrics.summary();
        assert_eq!((summary.requests, summary.failed, summary.total_ms.count), (8, 1, 5));
        assert_eq!((summary.total_ms.min, summary.total_ms.p50, summary.total_ms.max), (1.0, 3.0, 5.0));
        assert!((summary.total_ms.p95 - 4.8).abs() < 1e-9, "{:?}", summary.total_ms);
    }
}
