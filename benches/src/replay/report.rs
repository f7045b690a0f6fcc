//! The report of a replay.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use sm_runtime::EngineStats;

use super::drive::Outcome;
use super::fairness::{Fairness, Service, Wait};
use super::lru::{Access, found_by_lru, found_without_limit};
use super::scale::Scaled;
use super::trace::Recorded;
use super::verify::Verified;
use crate::summary::Summary;

/// Positions in a page of the cache.
const PAGE_LEN: usize = 16;
/// Window for comparing keys: long enough for many requests of each.
const WINDOW: Duration = Duration::from_secs(5);
/// Weight of a generated token when comparing keys, the engine's default; a prompt token weighs 1.
const OUTPUT_WEIGHT: f64 = 2.0;

/// The results of a replay. Lengths are in tokens of the scaled requests.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Requests sent.
    pub requests: usize,
    /// Requests that succeeded.
    pub completed: usize,
    /// Requests that ended with an error.
    pub failed: usize,
    /// Requests that were never answered.
    pub lost: usize,
    /// Requests whose prompt or output was truncated to fit the context.
    pub cut: usize,
    /// Requests re-run alone.
    pub verified: usize,
    /// Those that got different tokens.
    pub wrong: Vec<usize>,
    /// Seconds from the first request to the last token.
    pub seconds: f64,
    /// Prompt tokens, including cached ones.
    pub input_tokens: usize,
    /// Generated tokens.
    pub output_tokens: usize,
    /// Milliseconds from the submission of a request to its first token.
    pub first_token_ms: Summary,
    /// Milliseconds between two tokens of a request.
    pub inter_token_ms: Summary,
    /// Milliseconds from the submission of a request to its first step.
    pub queue_ms: Summary,
    /// Mean queue length.
    pub mean_queue_len: f64,
    /// Milliseconds by which requests were sent late.
    pub late_ms: Summary,
    /// Steps.
    pub steps: u64,
    /// Mean sequences per step.
    pub mean_batch: f64,
    /// Preemptions.
    pub preempted: u64,
    /// Prefix cache hits.
    pub prefix: Prefix,
    /// How equally keys were served.
    pub fairness: Fairness,
}

/// Prefix cache hit rates: fractions of prompt tokens found.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Prefix {
    /// Fraction of the trace's blocks, unscaled, that occurred before; 0 if it has none.
    pub trace_blocks: f64,
    /// An unbounded cache of full pages.
    pub without_limit: f64,
    /// An LRU cache with the engine's number of pages, serving one request after the other.
    pub lru: f64,
    /// The engine's cache.
    pub measured: f64,
    /// Pages of the engine's cache.
    pub pages: usize,
}

impl Prefix {
    /// The engine's hit rate over that of the LRU cache; 1 if that found nothing.
    pub fn measured_over_lru(&self) -> f64 {
        if self.lru == 0.0 { 1.0 } else { self.measured / self.lru }
    }
}

impl Report {
    /// Sums up a replay of `trace`, scaled to `requests`.
    pub fn new(
        trace: &[Recorded],
        requests: &[Scaled],
        outcomes: &[Outcome],
        verified: Verified,
        stats: &EngineStats,
    ) -> Self {
        let completions = || outcomes.iter().filter_map(Outcome::completion);
        let last = outcomes.iter().filter_map(|outcome| outcome.tokens_at.last()).max();
        let seconds = last.copied().unwrap_or_default().as_secs_f64();
        let gaps =
            outcomes.iter().flat_map(|outcome| outcome.tokens_at.windows(2).map(|pair| pair[1] - pair[0]));
        let queued: Vec<Duration> = outcomes.iter().filter_map(Outcome::queued).collect();
        let (waits, services) = contention(requests, outcomes);
        let lateness =
            requests.iter().zip(outcomes).map(|(scaled, outcome)| outcome.sent.saturating_sub(scaled.at));
        let first_token =
            outcomes.iter().filter_map(|outcome| Some(*outcome.tokens_at.first()? - outcome.sent));
        Self {
            requests: requests.len(),
            completed: completions().count(),
            failed: outcomes.iter().filter(|outcome| matches!(outcome.ended, Some(Err(_)))).count(),
            lost: requests.len() - outcomes.iter().filter(|outcome| outcome.ended.is_some()).count(),
            cut: requests.iter().filter(|scaled| scaled.is_cut).count(),
            verified: verified.n,
            wrong: verified.wrong,
            seconds,
            input_tokens: completions().map(|completion| completion.usage.prompt_tokens).sum(),
            output_tokens: completions().map(|completion| completion.usage.generated_tokens).sum(),
            first_token_ms: Summary::of_ms(first_token),
            inter_token_ms: Summary::of_ms(gaps),
            mean_queue_len: queued.iter().sum::<Duration>().as_secs_f64() / seconds.max(f64::MIN_POSITIVE),
            queue_ms: Summary::of_ms(queued),
            late_ms: Summary::of_ms(lateness),
            steps: stats.batching.steps,
            mean_batch: stats.average_batch_size(),
            preempted: stats.batching.preempted,
            prefix: prefix(trace, requests, outcomes, stats.cache.n_pages),
            fairness: Fairness::of(&waits, &services, WINDOW),
        }
    }

    /// Whether every request was answered and every verified one got the right tokens.
    pub fn is_sound(&self) -> bool {
        self.lost == 0 && self.failed == 0 && self.wrong.is_empty()
    }
}

fn prefix(trace: &[Recorded], requests: &[Scaled], outcomes: &[Outcome], pages: usize) -> Prefix {
    let share = |n: usize, of: usize| if of == 0 { 0.0 } else { n as f64 / of as f64 };
    let accesses: Vec<Access> = requests
        .iter()
        .enumerate()
        .map(|(index, scaled)| Access::new(index, &scaled.prompt, scaled.n_output, PAGE_LEN))
        .collect();
    let blocks: Vec<Access> = trace
        .iter()
        .filter_map(|request| request.blocks.clone())
        .map(|pages| Access { n_findable: pages.len(), pages })
        .collect();
    let n_input = requests.iter().map(|scaled| scaled.prompt.len()).sum();
    let n_cached =
        outcomes.iter().filter_map(Outcome::completion).map(|completion| completion.usage.cached_tokens);
    Prefix {
        trace_blocks: share(
            found_without_limit(&blocks),
            blocks.iter().map(|access| access.pages.len()).sum(),
        ),
        without_limit: share(found_without_limit(&accesses) * PAGE_LEN, n_input),
        lru: share(found_by_lru(&accesses, pages) * PAGE_LEN, n_input),
        measured: share(n_cached.sum(), n_input),
        pages,
    }
}

/// The waits of requests and the service of their keys.
fn contention(requests: &[Scaled], outcomes: &[Outcome]) -> (Vec<Wait>, Vec<Service>) {
    let mut waits = Vec::new();
    let mut services = Vec::new();
    for (scaled, outcome) in requests.iter().zip(outcomes) {
        let (key, Some(queued)) = (scaled.key, outcome.queued()) else {
            continue;
        };
        let until = outcome.sent + queued;
        waits.push(Wait { key, from: outcome.sent, until });
        services.push(Service { key, at: until, amount: scaled.prompt.len() as f64 });
        services.extend(outcome.tokens_at.iter().map(|at| Service { key, at: *at, amount: OUTPUT_WEIGHT }));
    }
    (waits, services)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = |n: usize| n as f64 / self.seconds.max(f64::MIN_POSITIVE);
        let Self { requests, completed, failed, lost, cut, verified, seconds, .. } = self;
        let Self { input_tokens, output_tokens, .. } = self;
        writeln!(
            f,
            "requests      {requests}: {completed} completed, {failed} failed, {lost} lost; {cut} cut to the context"
        )?;
        writeln!(f, "verified      {verified} alone: {} wrong {:?}", self.wrong.len(), self.wrong)?;
        writeln!(
            f,
            "throughput    {seconds:.1} s: {:.1} requests/s, {:.0} tokens/s in ({input_tokens}), {:.0} tokens/s out ({output_tokens})",
            per_second(*completed),
            per_second(*input_tokens),
            per_second(*output_tokens),
        )?;
        writeln!(f, "first token   ms: {}", self.first_token_ms)?;
        writeln!(f, "inter-token   ms: {}", self.inter_token_ms)?;
        writeln!(f, "in the queue  ms: {}", self.queue_ms)?;
        writeln!(
            f,
            "queue         {:.2} requests on average; sent late by ms: {}",
            self.mean_queue_len, self.late_ms
        )?;
        let Self { steps, mean_batch, preempted, .. } = self;
        writeln!(f, "steps         {steps} of {mean_batch:.2} sequences on average; {preempted} preempted")?;
        writeln!(f, "{}", self.prefix)?;
        match self.fairness {
            Fairness { n_windows: 0, .. } => {
                write!(f, "fairness      no {} s in which several keys waited throughout", WINDOW.as_secs())
            }
            Fairness { n_windows, jain, min_over_max } => write!(
                f,
                "fairness      Jain's index {jain:.3}, least/most served {min_over_max:.2}, over {n_windows} windows of {} s in which several keys waited",
                WINDOW.as_secs()
            ),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| share * 100.0;
        let ratio = self.measured_over_lru();
        write!(
            f,
            "prefix cache  {:.1} % of the prompts' tokens found; an LRU of {} pages alone {:.1} % (ratio {ratio:.3}), without limit {:.1} %; the trace's blocks {:.1} %",
            percent(self.measured),
            self.pages,
            percent(self.lru),
            percent(self.without_limit),
            percent(self.trace_blocks),
        )
    }
}
