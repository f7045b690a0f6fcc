//! What a caller hands over to the engine's thread with a request, beside its prompt.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use sm_batching::RequestId;

use super::ticket::Responder;
use crate::rules::Rules;
use crate::{GenerationOptions, Select};

/// Something that must outlive a request.
pub(crate) type KeepAlive = Arc<dyn Any + Send + Sync>;

/// Whether a caller reads the text as it grows, or waits for all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// What was delivered counts, however the request ends.
    Stream,
    /// A request that is cut short has failed.
    Whole,
}

/// A request's parameters.
pub(crate) struct RequestParams {
    pub(crate) responder: Responder,
    pub(crate) id: RequestId,
    /// Its private session, if it has one.
    pub(crate) owner: Option<KeepAlive>,
    pub(crate) keep_alive: Option<KeepAlive>,
    /// Whether a call on its session has succeeded, as far as its handle knows.
    pub(crate) has_spoken: Option<Arc<AtomicBool>>,
    pub(crate) delivery: Delivery,
    pub(crate) options: GenerationOptions,
    pub(crate) rules: Rules,
    /// What each text begins with.
    pub(crate) echo: String,
    pub(crate) select: Select,
    pub(crate) n: usize,
    pub(crate) seed: u64,
    pub(crate) submitted: Instant,
    pub(crate) speculate: bool,
}
