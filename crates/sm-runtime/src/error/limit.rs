//! Limits that a request can exceed.

use std::fmt;

use sm_batching::QueueLimit;
use sm_cache::Resource;

/// The limited resource of an [`Error::ResourceLimit`](crate::Error::ResourceLimit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitedResource {
    /// Positions of a sequence, prompt and output together.
    Context,
    /// [`Limits::max_length`](crate::Limits::max_length), in tokens.
    TotalLength,
    /// [`Limits::max_input_tokens`](crate::Limits::max_input_tokens).
    InputTokens,
    /// Sequences per step that the model was loaded for.
    Sequences,
    /// A limit of the queue or of a batch.
    Queue(QueueLimit),
    /// A limit of the KV cache.
    Cache(Resource),
}

impl LimitedResource {
    /// The name of the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::TotalLength => "max_length",
            Self::InputTokens => "max_input_tokens",
            Self::Sequences => "n_sequences",
            Self::Queue(limit) => limit.name(),
            Self::Cache(resource) => resource.name(),
        }
    }

    /// Whether the same request may be accepted later.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Queue(limit) => limit.is_transient(),
            Self::Cache(resource) => resource == Resource::Sessions,
            Self::Context | Self::TotalLength | Self::InputTokens | Self::Sequences => false,
        }
    }

    /// What the caller can do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Context => "shorten the prompt or load the model with a longer context",
            Self::TotalLength => "shorten the prompt or raise max_length",
            Self::InputTokens => "shorten the prompt, raise max_input_tokens, or allow truncation",
            Self::Queue(QueueLimit::Choices) => "ask for fewer choices or raise max_batch_size",
            Self::Sequences => "use fewer sequences or load the model for more",
            Self::Cache(Resource::Sessions) => "retry when a session is idle or raise max_sessions",
            Self::Queue(limit) if limit.is_transient() => "retry later or raise the limit",
            Self::Queue(_) | Self::Cache(_) => "shorten the request or raise the limit",
        }
    }
}

impl fmt::Display for LimitedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
