//! What the times of all requests come to. The definitions are those of `vllm bench serve`.

use std::time::Duration;

use super::client::Outcome;
use super::load::Run;
use super::options::{Args, Bound, Latency};

/// The figures of a run.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) completed: usize,
    pub(super) failed: usize,
    pub(super) n_input: usize,
    pub(super) n_output: usize,
    /// Requests per second, and those among them that kept all bounds.
    pub(super) request_throughput: f64,
    pub(super) goodput: Option<f64>,
    /// Tokens per second: of answers, and with prompts.
    pub(super) output_throughput: f64,
    pub(super) total_throughput: f64,
    /// The most requests that were in flight at a time.
    pub(super) peak_concurrency: usize,
    pub(super) latencies: Vec<Summary>,
}

/// A latency over all requests, in milliseconds.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) latency: Latency,
    pub(super) mean: f64,
    pub(super) median: f64,
    pub(super) std: f64,
    /// Percentiles: which, and their values.
    pub(super) percentiles: Vec<(f64, f64)>,
}

impl Figures {
    pub(super) fn of(run: &Run, args: &Args) -> Self {
        let done: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| outcome.error.is_none()).collect();
        let seconds = run.duration.as_secs_f64().max(1e-9);
        let n_input: usize = done.iter().map(|outcome| outcome.n_input).sum();
        let n_output: usize = done.iter().map(|outcome| outcome.n_output).sum();
        let bounds = &args.output.goodput;
        let n_good = done.iter().filter(|outcome| bounds.iter().all(|bound| keeps(outcome, *bound))).count();
        let latencies = [Latency::Ttft, Latency::Tpot, Latency::Itl, Latency::E2el];
        Self {
            completed: done.len(),
            failed: run.outcomes.len() - done.len(),
            n_input,
            n_output,
            request_throughput: done.len() as f64 / seconds,
            goodput: (!bounds.is_empty()).then_some(n_good as f64 / seconds),
            output_throughput: n_output as f64 / seconds,
            total_throughput: (n_input + n_output) as f64 / seconds,
            peak_concurrency: peak_concurrency(&done),
            latencies: latencies
                .map(|latency| {
                    let times = done.iter().flat_map(|outcome| times(outcome, latency));
                    Summary::of(latency, times, &args.output.metric_percentiles)
                })
                .into(),
        }
    }

    pub(super) fn latency(&self, latency: Latency) -> Option<&Summary> {
        self.latencies.iter().find(|summary| summary.latency == latency)
    }
}

/// A request's times of one kind.
fn times(outcome: &Outcome, latency: Latency) -> Vec<Duration> {
    match latency {
        Latency::Ttft => vec![outcome.first],
        // Of a single token there is no time per token after the first.
        Latency::Tpot if outcome.n_output < 2 => Vec::new(),
        Latency::Tpot => vec![(outcome.total - outcome.first) / (outcome.n_output as u32 - 1)],
        Latency::Itl => outcome.gaps.clone(),
        Latency::E2el => vec![outcome.total],
    }
}

fn keeps(outcome: &Outcome, bound: Bound) -> bool {
    times(outcome, bound.latency).iter().all(|time| *time <= bound.most)
}

fn peak_concurrency(done: &[&Outcome]) -> usize {
    let begins = done.iter().map(|outcome| (outcome.sent, true));
    let ends = done.iter().map(|outcome| (outcome.sent + outcome.total, false));
    let mut changes: Vec<_> = begins.chain(ends).collect();
    // At the same moment, what ends comes before what begins.
    changes.sort_unstable();
    let mut now = 0usize;
    let counts = changes.into_iter().map(|(_, begins)| {
        now = if begins { now + 1 } else { now - 1 };
        now
    });
    counts.max().unwrap_or(0)
}

impl Summary {
    fn of(latency: Latency, times: impl Iterator<Item = Duration>, percentiles: &[f64]) -> Self {
        let mut ms: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let n = ms.len().max(1) as f64;
        let mean = ms.iter().sum::<f64>() / n;
        let variance = ms.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        Self {
            latency,
            mean,
            median: percentile(&ms, 50.0),
            std: variance.sqrt(),
            percentiles: percentiles.iter().map(|p| (*p, percentile(&ms, *p))).collect(),
        }
    }
}

/// A percentile of sorted values, between the two nearest, as numpy has it; 0 of none.
fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = percent / 100.0 * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn percentiles_lie_between_values() {
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 50.0), 2.0);
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 75.0), 3.0);
        assert_eq!(percentile(&[1.0, 2.0], 100.0), 2.0);
        assert_eq!(percentile(&[], 99.0), 0.0);
    }

    #[test]
    fn the_time_per_token_leaves_out_the_first() {
        let outcome = Outcome { first: ms(50), total: ms(250), n_output: 5, ..Outcome::default() };
        assert_eq!(times(&outcome, Latency::Tpot), [ms(50)]);
        assert!(times(&Outcome { n_output: 1, ..outcome.clone() }, Latency::Tpot).is_empty());
        assert!(keeps(&outcome, Bound { latency: Latency::Ttft, most: ms(50) }));
        assert!(!keeps(&outcome, Bound { latency: Latency::E2el, most: ms(249) }));
    }

    #[test]
    fn a_request_that_begins_as_another_ends_is_not_beside_it() {
        let outcome = |sent, total| Outcome { sent: ms(sent), total: ms(total), ..Outcome::default() };
        let [a, b, c] = [outcome(0, 10), outcome(10, 10), outcome(15, 10)];
        assert_eq!(peak_concurrency(&[&a, &b, &c]), 2);
        assert_eq!(peak_concurrency(&[]), 0);
    }
}
