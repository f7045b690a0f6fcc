//! Recent measurements of an engine.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Distribution, MetricsSink, RequestMetrics, StepMetrics, Window};
use crate::FinishReason;

/// Window length of each distribution.
const WINDOW: usize = 1000;

/// Keeps the last 1,000 values of each measurement. Share it in an `Arc`: one for the engine, one to read.
#[derive(Debug)]
pub struct RecentMetrics(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the first step began.
    since: Option<Instant>,
    requests: u64,
    failed: u64,
    interrupted: u64,
    tokens: u64,
    failed_tokens: u64,
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
    /// Seconds since the first step began, so without loading; 0 before.
    pub seconds: f64,
    /// Requests that ended, however they did.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were cancelled or timed out.
    pub interrupted: u64,
    /// Generated tokens, without those of requests that failed.
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
    /// Requests per second since the first step began, of those that came to their own end; 0 before.
    pub fn requests_per_second(&self) -> f64 {
        self.per_second(self.requests - self.failed - self.interrupted)
    }

    /// Tokens per second since the first step began; 0 before.
    pub fn generated_tokens_per_second(&self) -> f64 {
        self.per_second(self.tokens)
    }

    fn per_second(&self, n: u64) -> f64 {
        if self.seconds > 0.0 { n as f64 / self.seconds } else { 0.0 }
    }
}

impl Default for RecentMetrics {
    fn default() -> Self {
        let window = || Window::new(WINDOW);
        Self(Mutex::new(State {
            since: None,
            requests: 0,
            failed: 0,
            interrupted: 0,
            tokens: 0,
            failed_tokens: 0,
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
        }))
    }
}

impl RecentMetrics {
    /// Summarizes the measurements so far.
    pub fn summary(&self) -> RecentSummary {
        let state = self.lock();
        RecentSummary {
            seconds: state.since.map_or(0.0, |since| since.elapsed().as_secs_f64()),
            requests: state.requests,
            failed: state.failed,
            interrupted: state.interrupted,
            tokens: state.tokens.saturating_sub(state.failed_tokens),
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetricsSink for RecentMetrics {
    fn step(&self, step: &StepMetrics) {
        let mut state = self.lock();
        let now = Instant::now();
        state.since.get_or_insert_with(|| now.checked_sub(step.time).unwrap_or(now));
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
            None => {
                state.failed += 1;
                state.failed_tokens += request.usage.generated_tokens as u64;
            }
            Some(FinishReason::Timeout | FinishReason::Cancelled) => state.interrupted += 1,
            Some(_) => state.total_ms.push(ms(request.total)),
        }
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use sm_batching::RequestId;

    use super::*;
    use crate::{StepPhases, Usage};

    fn request(
        finish_reason: Option<FinishReason>,
        milliseconds: u64,
        generated_tokens: usize,
    ) -> RequestMetrics {
        RequestMetrics {
            finish_reason,
            usage: Usage { generated_tokens, ..Usage::default() },
            ..RequestMetrics::refused(RequestId(0), Duration::from_millis(milliseconds))
        }
    }

    #[test]
    fn totals_are_of_requests_that_came_to_their_own_end() {
        let metrics = RecentMetrics::default();
        for (milliseconds, reason) in [
            (1, FinishReason::Stop),
            (2, FinishReason::Eos),
            (3, FinishReason::StopSequence),
            (4, FinishReason::Length),
            (5, FinishReason::ContextLimit),
        ] {
            metrics.request(&request(Some(reason), milliseconds, 1));
        }
        for reason in [None, Some(FinishReason::Timeout), Some(FinishReason::Cancelled)] {
            metrics.request(&request(reason, 1_000_000, 1));
        }
        let summary = metrics.summary();
        let RecentSummary { requests, failed, interrupted, total_ms, .. } = summary;
        assert_eq!((requests, failed, interrupted, total_ms.count), (8, 1, 2, 5));
        assert_eq!((total_ms.min, total_ms.p50, total_ms.max), (1.0, 3.0, 5.0));
        assert!((total_ms.p95 - 4.8).abs() < 1e-9, "{total_ms:?}");
    }

    #[test]
    fn rates_begin_with_the_first_step_and_leave_out_what_failed() {
        let metrics = RecentMetrics::default();
        // Loading takes a while.
        std::thread::sleep(Duration::from_millis(2));
        let before = metrics.summary();
        assert_eq!((before.seconds, before.requests_per_second()), (0.0, 0.0));
        let step = StepMetrics {
            time: Duration::from_secs(100),
            phases: StepPhases::default(),
            sequences: 2,
            rows: 2,
            draft_rows: 0,
            tokens: 60,
            waiting: 0,
        };
        metrics.step(&step);
        metrics.request(&request(Some(FinishReason::Eos), 1, 40));
        metrics.request(&request(None, 1, 20));
        let after = metrics.summary();
        assert!((100.0..200.0).contains(&after.seconds), "{after:?}");
        let per_second = |n: f64| n / after.seconds;
        assert_eq!((after.requests, after.tokens), (2, 40));
        assert!((after.requests_per_second() - per_second(1.0)).abs() < 1e-9);
        assert!((after.generated_tokens_per_second() - per_second(40.0)).abs() < 1e-9);
    }
}
