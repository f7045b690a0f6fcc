//! Engine metrics and their sinks.
//!
//! An engine without a sink records nothing. It calls a sink on its own thread, after each step and at the end of each
//! request, so a sink should be quick. [`RecentMetrics`] keeps the most recent measurements.

mod recent;
mod window;

use std::fmt::Debug;
use std::time::Duration;

use sm_batching::RequestId;

use crate::{FinishReason, Usage};

pub use recent::{RecentMetrics, RecentSummary};
pub use window::{Distribution, Window, percentile};

/// Receives measurements on the engine's thread.
pub trait MetricsSink: Debug + Send + Sync {
    /// A step completed.
    fn step(&self, step: &StepMetrics);
    /// A request ended.
    fn request(&self, request: &RequestMetrics);
}

/// Metrics of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepMetrics {
    /// Total time, from scheduling to the last response.
    pub time: Duration,
    /// Time per phase.
    pub phases: StepPhases,
    /// Number of sequences.
    pub sequences: usize,
    /// Rows: prompt tokens, one per decoding sequence, and drafts.
    pub rows: usize,
    /// Draft rows.
    pub draft_rows: usize,
    /// Generated tokens.
    pub tokens: u64,
    /// Requests queued during the step.
    pub waiting: usize,
}

/// Time per phase of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepPhases {
    /// Choosing rows and pages, drafting, and fetching pages from disk.
    pub schedule: Duration,
    /// Running the model.
    pub compute: Duration,
    /// Sampling, and delivering tokens to streams.
    pub sample: Duration,
    /// Committing tokens: pages, slots and counters.
    pub commit: Duration,
}

impl RequestMetrics {
    /// Metrics of a request rejected `total` after submission.
    pub(crate) fn refused(id: RequestId, total: Duration) -> Self {
        Self {
            id,
            queue: None,
            first_token: None,
            inter_token: None,
            total,
            usage: Usage::default(),
            finish_reason: None,
        }
    }
}

/// Metrics of a request. One rejected at submission, before it reaches the engine's thread, has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestMetrics {
    /// The request, as [`RequestHandle::id`](crate::RequestHandle::id) names it.
    pub id: RequestId,
    /// From submission to the first step, if any.
    pub queue: Option<Duration>,
    /// From submission to the first token, if any.
    pub first_token: Option<Duration>,
    /// Mean time between tokens of a choice, if one had at least two.
    pub inter_token: Option<Duration>,
    /// From submission to the end.
    pub total: Duration,
    /// Token counts of the prompt and of all choices together.
    pub usage: Usage,
    /// Finish reason of the first choice; `None` if the request failed.
    pub finish_reason: Option<FinishReason>,
}
