//! A hundred requests from one, four and eight callers at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sm_runtime::{Engine, Error, GenerationOptions, ModelRef, Prompt, SamplingOptions};

use super::{ExperimentError, Finding, batching, greedy};
use crate::summary::Summary;

pub(super) const N_REQUESTS: usize = 100;
pub(super) const N_TOKENS: usize = 50;
const CONCURRENCY: [usize; 3] = [1, 4, 8];
/// The questions of the tutorial's users.
const PROMPTS: [&str; 5] =
    ["The quick brown fox", "Once upon a time", "In a distant galaxy", "The secret to happiness", "Hello"];

/// One run of all requests.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) total: Duration,
    pub(super) latency_ms: Summary,
    pub(super) first_token_ms: Summary,
}

/// Runs the experiment on the demo model.
///
/// # Errors
/// If the model fails.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let engine = batching::engine(&ModelRef::Demo)?;
    let mut runs = CONCURRENCY.map(|_| Vec::new());
    serve(&engine, CONCURRENCY[2])?;
    for _ in 0..reps {
        for (runs, n_callers) in runs.iter_mut().zip(CONCURRENCY) {
            runs.push(serve(&engine, n_callers)?);
        }
    }
    Ok(runs.into_iter().zip(CONCURRENCY).filter_map(|(runs, n_callers)| finding(runs, n_callers)).collect())
}

/// The run with the median duration.
pub(super) fn median_run(mut runs: Vec<Run>) -> Option<Run> {
    runs.sort_by_key(|run| run.total);
    let middle = runs.len().checked_sub(1)? / 2;
    Some(runs.swap_remove(middle))
}

fn finding(runs: Vec<Run>, n_callers: usize) -> Option<Finding> {
    let Run { total, latency_ms, .. } = median_run(runs)?;
    let seconds = total.as_secs_f64();
    Some(Finding {
        what: format!("Concurrency {n_callers}: {N_TOKENS} tokens each, demo model"),
        measured: format!(
            "Total Requests: {N_REQUESTS}, Duration: {seconds:.2} s, Throughput: {:.2} req/s, Tokens/sec: {:.1}, \
             P95 Latency: {:.1} ms",
            N_REQUESTS as f64 / seconds,
            (N_REQUESTS * N_TOKENS) as f64 / seconds,
            latency_ms.p95,
        ),
        claim: "these five figures are printed; the documents give no values".to_owned(),
        goals: Vec::new(),
    })
}

fn options(number: usize) -> GenerationOptions {
    greedy(N_TOKENS).sampling(SamplingOptions::new().seed(number as u64))
}

/// Serves all requests to callers that each send the next one after receiving the previous answer.
pub(super) fn serve(engine: &Engine, n_callers: usize) -> Result<Run, Error> {
    let next = AtomicUsize::new(0);
    let latencies = Mutex::new(Vec::new());
    let failure = Mutex::new(None);
    let call = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= N_REQUESTS {
                break;
            }
            let prompt = Prompt::Text(format!("{} {number}", PROMPTS[number % PROMPTS.len()]));
            let start = Instant::now();
            match engine.generate(prompt, &options(number)) {
                Ok(completion) => {
                    let latency = (start.elapsed(), completion.timings.first_token);
                    latencies.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
                }
                Err(error) => *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
            }
        }
    };
    let start = Instant::now();
    std::thread::scope(|scope| (0..n_callers).for_each(|_| _ = scope.spawn(call)));
    let total = start.elapsed();
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => {
            let (latencies, first_tokens): (Vec<_>, Vec<_>) =
                latencies.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().unzip();
            let [latency_ms, first_token_ms] = [latencies, first_tokens].map(Summary::of_ms);
            Ok(Run { total, latency_ms, first_token_ms })
        }
    }
}
