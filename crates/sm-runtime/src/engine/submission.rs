//! A request on its way to the engine's thread.

use std::sync::Arc;

use sm_cache::{Namespace, SessionId, SessionMode};
use sm_kernels::plan::RopeRange;

use super::prompt_tokens::PromptTokens;
use super::request_params::RequestParams;

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
