//! What an engine measures, and where it tells it.
//!
//! An engine without a sink records nothing. With one it calls it from its own thread, after each step and at the end of each
//! request; a sink should be quick. [`RecentMetrics`] keeps the last of them for a look at any time.

mod recent;
mod window;

use std::fmt::Debug;
use std::time::Duration;

use crate::{FinishReason, Usage};

pub use recent::{RecentMetrics, RecentSummary};
pub use window::{Distribution, Window, percentile};

/// Takes measurements in, on the engine's thread.
pub trait MetricsSink: Debug + Send + Sync {
    /// A step was made.
    fn step(&self, step: &StepMetrics);
    /// A request is over.
    fn request(&self, request: &RequestMetrics);
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepMetrics {
    /// From the schedule to the last answer.
    pub time: Duration,
    /// Where it went.
    pub phases: StepPhases,
    /// Sequences in it.
    pub sequences: usize,
    /// Rows: tokens of prompts, one for each decoding sequence, and guesses.
    pub rows: usize,
    /// Rows that were guesses.
    pub draft_rows: usize,
    /// Tokens that came out.
    pub tokens: u64,
    /// Requests that waited meanwhile.
    pub waiting: usize,
}

/// Where the time of a step went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepPhases {
    /// Choosing rows and pages; guesses, and pages from the disk.
    pub schedule: Duration,
    /// Running the model.
    pub compute: Duration,
    /// Drawing tokens from the logits, and telling streams.
    pub sample: Duration,
    /// Taking the tokens in: pages, slots and counters.
    pub commit: Duration,
}

impl RequestMetrics {
    /// Of a request that was refused, `total` after its submission.
    pub(crate) fn refused(total: Duration) -> Self {
        Self {
            queue: None,
            first_token: None,
            inter_token: None,
            total,
            usage: Usage::default(),
            finish_reason: None,
        }
    }
}

/// A request from its submission to its end. One that is refused at once, before it reaches the engine's thread, has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestMetrics {
    /// From its submission to its first step, if it had one.
    pub queue: Option<Duration>,
    /// From its submission to its first token, if it had one.
    pub first_token: Option<Duration>,
    /// Between two tokens of a choice, on average, if one had two.
    pub inter_token: Option<Duration>,
    /// From its submission to its end.
    pub total: Duration,
    /// Tokens of the prompt, and of all choices together.
    pub usage: Usage,
    /// How it ended, the first of its choices; `None` if it failed.
    pub finish_reason: Option<FinishReason>,
}
