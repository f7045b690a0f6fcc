//! A request's parameters for the engine's thread, without the prompt.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use sm_batching::RequestId;

use super::ticket::Responder;
use crate::rules::Rules;
use crate::{GenerationOptions, Pooling, Select};

/// Keeps something alive as long as a request.
pub(crate) type KeepAlive = Arc<dyn Any + Send + Sync>;

/// Whether a caller streams the text or waits for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Delivered text counts, however the request ends.
    Stream,
    /// A request that is cut short fails.
    Whole,
}

/// A request's parameters.
pub(crate) struct RequestParams {
    pub(crate) responder: Responder,
    pub(crate) id: RequestId,
    /// Keeps its private session alive, if it has one.
    pub(crate) owner: Option<KeepAlive>,
    pub(crate) keep_alive: Option<KeepAlive>,
    /// Whether a call on its session has succeeded, as known to the session's handle.
    pub(crate) has_spoken: Option<Arc<AtomicBool>>,
    pub(crate) delivery: Delivery,
    pub(crate) options: GenerationOptions,
    pub(crate) rules: Rules,
    /// Text that each output begins with.
    pub(crate) echo: String,
    pub(crate) select: Select,
    pub(crate) n: usize,
    pub(crate) seed: u64,
    pub(crate) submitted: Instant,
    pub(crate) speculate: bool,
    pub(crate) reports_prefill: bool,
    /// Set if the prompt is embedded instead of continued.
    pub(crate) pooling: Option<Pooling>,
}
