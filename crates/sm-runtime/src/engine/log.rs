//! Log events of an engine. Prompts and answers are never logged.
//!
//! Every step is a `DEBUG` event; if that level is disabled, it costs only the check.

use std::collections::HashMap;
use std::fmt::Write;

use sm_batching::{RequestId, Step};
use sm_kernels::plan::{ExecError, ExecutorInfo};
use tracing::{Level, debug, enabled, error, info, warn};

use super::active_request::ActiveRequest;
use super::request_params::RequestParams;
use crate::{EngineConfig, Error, StepMetrics};

/// The `tracing` target of all events.
const TARGET: &str = "sm_runtime";

/// An engine started.
pub(super) fn started(info: &ExecutorInfo, config: &EngineConfig) {
    let ExecutorInfo { kernels, n_workers, weight_bytes, kv_bytes, activation_bytes, .. } = info;
    info!(target: TARGET, kernels, n_workers, weight_bytes, kv_bytes, activation_bytes, "engine started");
    debug!(target: TARGET, "engine configured:\n{config}");
}

/// An engine is shutting down.
pub(super) fn shut_down(n_active: usize) {
    info!(target: TARGET, unfinished_requests = n_active, "engine shutting down");
}

/// A request was submitted.
pub(super) fn submitted(params: &RequestParams, n_prompt: usize) {
    debug!(target: TARGET, request = params.id.0, prompt_tokens = n_prompt, choices = params.n, "request submitted");
}

/// A request was rejected.
pub(super) fn refused(params: &RequestParams, error: &Error) {
    debug!(target: TARGET, request = params.id.0, %error, "request rejected");
}

/// A request finished.
pub(super) fn ended(active: &ActiveRequest) {
    if !enabled!(target: TARGET, Level::DEBUG) {
        return;
    }
    let metrics = active.metrics();
    let error = active.error.as_ref().map(ToString::to_string);
    let finish_reason = metrics.finish_reason.map_or("failed", |reason| reason.name());
    let tokens = metrics.usage.generated_tokens;
    let cached = metrics.usage.cached_tokens;
    let queue = metrics.queue;
    let total = metrics.total;
    let request = active.id.0;
    debug!(target: TARGET, request, finish_reason, error, tokens, cached, ?queue, ?total, "request finished");
}

/// The sequences of a step, as `request.choice rows@position`, with the queue time of those in their first step; `None`
/// if the level is disabled.
pub(super) fn plan(step: &Step, active: &HashMap<RequestId, ActiveRequest>) -> Option<String> {
    if !enabled!(target: TARGET, Level::DEBUG) {
        return None;
    }
    let mut plan = String::new();
    for part in step.parts() {
        let Some(active) = active.get(&part.id.request) else { continue };
        let gap = if plan.is_empty() { "" } else { ", " };
        let number = active.id.0;
        let choice = part.id.choice;
        // Writing to a `String` cannot fail.
        let _ = write!(plan, "{gap}{number}.{choice} {}@{}", part.n_rows, part.start);
        if let Some(waited) = active.waits() {
            let _ = write!(plan, " after {:.1} ms", waited.as_secs_f64() * 1e3);
        }
    }
    Some(plan)
}

/// A step completed.
pub(super) fn step(number: u64, plan: &str, step: &StepMetrics) {
    let StepMetrics { time, rows, tokens, waiting, .. } = *step;
    debug!(target: TARGET, step = number, %plan, rows, tokens, waiting, ?time, "step");
}

/// A step failed and is retried for each sequence alone.
pub(super) fn step_failed(error: &ExecError) {
    warn!(target: TARGET, %error, "step failed; retrying each sequence alone");
}

/// The device or the weights were lost, which ends the engine.
pub(super) fn device_lost(error: &ExecError) {
    error!(target: TARGET, %error, "nothing more can be computed; engine stopping");
}
