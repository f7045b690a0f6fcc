//! What callers send to the engine's thread.

use std::sync::Arc;

use sm_cache::{Namespace, SessionId, SessionMode};
use sm_kernels::plan::RopeRange;

use super::engine_loop::Core;
use super::prompt_tokens::PromptTokens;
use super::request_params::RequestParams;

/// A message from a caller to the engine.
pub(crate) enum Message {
    /// A new request.
    Submit(Box<Submission>),
    /// A request was cancelled, or pages arrived from disk.
    Wake,
    /// A closure to run between two steps.
    Call(Box<dyn FnOnce(&mut Core) + Send>),
}

/// A tokenized request.
pub(crate) struct Submission {
    pub(crate) params: RequestParams,
    pub(crate) prompt: PromptTokens,
    pub(crate) priority: sm_batching::Priority,
    pub(crate) client: u64,
    pub(crate) session: Option<(SessionId, SessionMode)>,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) rope_range: RopeRange,
}
