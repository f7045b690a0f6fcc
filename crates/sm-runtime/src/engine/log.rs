//! What an engine tells those who listen to its log. Prompts and answers are not in it.
//!
//! Every step is an event of level `DEBUG`; while nobody listens to that level, it costs the question.

use std::collections::HashMap;
use std::fmt::Write;

use sm_batching::{RequestId, Step};
use sm_kernels::plan::{ExecError, ExecutorInfo};
use tracing::{Level, debug, enabled, error, info, warn};

use super::active_request::ActiveRequest;
use super::request_params::RequestParams;
use crate::{EngineConfig, Error, StepMetrics};

/// What the events are of.
const TARGET: &str = "sm_runtime";

/// An engine begins.
pub(super) fn started(info: &ExecutorInfo, config: &EngineConfig) {
    let ExecutorInfo { kernels, n_workers, weight_bytes, kv_bytes, activation_bytes, .. } = info;
    info!(target: TARGET, kernels, n_workers, weight_bytes, kv_bytes, activation_bytes, "engine started");
    debug!(target: TARGET, "engine configured:\n{config}");
}

/// An engine ends.
pub(super) fn shut_down(n_active: usize) {
    info!(target: TARGET, unfinished_requests = n_active, "engine shuts down");
}

/// A request has come in.
pub(super) fn submitted(params: &RequestParams, n_prompt: usize) {
    debug!(target: TARGET, request = params.id.0, prompt_tokens = n_prompt, choices = params.n, "request submitted");
}

/// A request cannot be served.
pub(super) fn refused(params: &RequestParams, error: &Error) {
    debug!(target: TARGET, request = params.id.0, %error, "request refused");
}

/// A request is over.
pub(super) fn ended(active: &ActiveRequest) {
    if !enabled!(target: TARGET, Level::DEBUG) {
        return;
    }
    let metrics = active.metrics();
    let error = active.error.as_ref().map(ToString::to_string);
    let finish_reason = metrics.finish_reason.map_or("failed", |reason| reason.name());
    let (tokens, cached) = (metrics.usage.generated_tokens, metrics.usage.cached_tokens);
    let (queue, total) = (metrics.queue, metrics.total);
    let request = active.id.0;
    debug!(target: TARGET, request, finish_reason, error, tokens, cached, ?queue, ?total, "request is over");
}

/// Who is in a step, as `request.choice rows@position`, with what those waited who are in their first; `None` if nobody
/// listens.
pub(super) fn plan(step: &Step, active: &HashMap<RequestId, ActiveRequest>) -> Option<String> {
    if !enabled!(target: TARGET, Level::DEBUG) {
        return None;
    }
    let mut plan = String::new();
    for part in step.parts() {
        let Some(active) = active.get(&part.id.request) else { continue };
        let gap = if plan.is_empty() { "" } else { ", " };
        let (number, choice) = (active.id.0, part.id.choice);
        // Writing to a string does not fail.
        let _ = write!(plan, "{gap}{number}.{choice} {}@{}", part.n_rows, part.start);
        if let Some(waited) = active.waits() {
            let _ = write!(plan, " after {:.1} ms", waited.as_secs_f64() * 1e3);
        }
    }
    Some(plan)
}

/// A step was made.
pub(super) fn step(number: u64, plan: &str, step: &StepMetrics) {
    let StepMetrics { time, rows, tokens, waiting, .. } = *step;
    debug!(target: TARGET, step = number, %plan, rows, tokens, waiting, ?time, "step");
}

/// A step failed, and is made again for each sequence alone.
pub(super) fn step_failed(error: &ExecError) {
    warn!(target: TARGET, %error, "a step failed; each of its sequences is tried alone");
}

/// The device is gone, and the engine ends.
pub(super) fn device_lost(error: &ExecError) {
    error!(target: TARGET, %error, "the engine ends");
}
