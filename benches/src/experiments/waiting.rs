//! Cost and benefit of a batching delay.

use sm_runtime::{BatchingConfig, Engine, ModelRef};

use super::concurrency::{N_REQUESTS, N_TOKENS, median_run, serve};
use super::{ExperimentError, Finding};

const N_CALLERS: usize = 8;
/// Maximum wait of a batch's first request for others.
const WAITS_MS: [u64; 4] = [0, 2, 10, 50];

/// Runs the experiment on the demo model.
///
/// # Errors
/// If the model fails.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let engine = |wait_ms: u64| {
        let max_batch_wait_us = wait_ms * 1000;
        let batching = BatchingConfig::new().max_batch_size(N_CALLERS).max_batch_wait_us(max_batch_wait_us);
        Engine::builder().batching(batching).load(ModelRef::Demo)
    };
    let mut findings = Vec::new();
    for wait_ms in WAITS_MS {
        let engine = engine(wait_ms)?;
        serve(&engine, N_CALLERS)?;
        let runs = (0..reps).map(|_| serve(&engine, N_CALLERS)).collect::<Result<_, _>>()?;
        let Some(run) = median_run(runs) else { continue };
        let rate = (N_REQUESTS * N_TOKENS) as f64 / run.total.as_secs_f64();
        findings.push(Finding {
            what: format!(
                "Waiting up to {wait_ms} ms: {N_CALLERS} callers, {N_TOKENS} tokens each, demo model"
            ),
            measured: format!(
                "{rate:.1} tok/s; latency {:.1} ms in the median, {:.1} ms P95",
                run.latency_ms.p50, run.latency_ms.p95
            ),
            claim: "waiting trades latency for throughput; the documents give no values".to_owned(),
            goals: Vec::new(),
        });
    }
    Ok(findings)
}
