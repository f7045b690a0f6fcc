//! Errors of the scheduler.

use std::fmt;

use sm_cache::CacheError;

use crate::request::RequestId;

/// A limit that a request can exceed on submission.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueLimit {
    /// `max_queued_requests`; transient.
    Requests,
    /// `max_queued_tokens`; transient.
    Tokens,
    /// `max_total_tokens` of a batch.
    BatchTokens,
    /// `memory_limit_bytes` of a batch.
    BatchBytes,
    /// `max_batch_size`, for the choices of one request.
    Choices,
}

impl QueueLimit {
    /// The name of the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "max_queued_requests",
            Self::Tokens => "max_queued_tokens",
            Self::BatchTokens => "max_total_tokens",
            Self::BatchBytes => "memory_limit_bytes",
            Self::Choices => "max_batch_size",
        }
    }

    /// Whether the same request may be accepted later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Requests | Self::Tokens)
    }
}

impl fmt::Display for QueueLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why the scheduler rejects a request or configuration.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchingError {
    /// The queue is full, or the request is too large for any batch.
    #[error("the request would make it {actual} but {resource} is {limit}; {}", if resource.is_transient() { "retry later or raise the limit" } else { "shorten the request or raise the limit" })]
    ResourceLimit {
        /// The limit.
        resource: QueueLimit,
        /// Its value.
        limit: u64,
        /// The value including the request.
        actual: u64,
    },
    /// The request would not fit even with the cache to itself.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A request with the same id is queued or running.
    #[error("request {} is waiting or running already; give each request its own id", id.0)]
    DuplicateId {
        /// The id.
        id: RequestId,
    },
    /// The request has no tokens.
    #[error("the prompt has no tokens; begin it with the tokenizer's BOS token")]
    EmptyPrompt,
    /// The request asks for no output.
    #[error("max_new_tokens is 0 and no prompt log-probabilities are wanted; ask for at least 1 token")]
    NothingToDo,
    /// The request asks for hidden states and for tokens.
    #[error("hidden states are wanted of the prompt, so nothing is generated; ask for 0 tokens of 1 choice")]
    HiddenOnly,
    /// The configuration needs larger steps than the executor was prepared for.
    #[error(
        "{field} cannot become {value}: the executor was prepared for at most {max}; load the model with a higher limit"
    )]
    BeyondExecutor {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Its maximum.
        max: u64,
    },
    /// A value of the configuration is invalid.
    #[error("invalid {field} = {value}: {reason}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        reason: &'static str,
    },
}
