//! The crate's error type.
//!
//! [`Error::kind`] says what a caller can do about it without parsing the message: a server maps the kind to a status, a
//! client decides whether to retry. Variants carry the numbers; messages add the remedy.

mod kind;
mod kv_disk;
mod limit;
mod load;

use std::sync::Arc;

use sm_batching::BatchingError;
use sm_cache::{BlankSessionId, ByteSize, CacheError};
use sm_kernels::plan::{ExecError, PrepareError};
use sm_model::chat::ChatError;
use sm_model::tokenizer::TokenizerError;

pub use kind::ErrorKind;
pub use kv_disk::KvDiskError;
pub use limit::LimitedResource;
pub use load::{LoadError, MemoryBound};

use crate::Completion;

/// An error of a request, of a call to an engine, or of loading a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has an invalid value.
    #[error("invalid {field}: {message}")]
    Validation {
        /// The option.
        field: &'static str,
        /// The value and the rule it breaks.
        message: String,
    },
    /// The request exceeds a limit. Nothing was computed.
    #[error("{resource} is {limit} but the request needs at least {actual}; {}", resource.remedy())]
    ResourceLimit {
        /// The limited resource.
        resource: LimitedResource,
        /// The limit.
        limit: u64,
        /// The minimum the request needs, in the same unit.
        actual: u64,
    },
    /// The request has text, but the model has no tokenizer.
    #[error(
        "the model has no tokenizer; pass token ids, or load it from files that include one (tokenizer.json, or a GGUF with vocabulary)"
    )]
    NoTokenizer,
    /// The prompt cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat messages cannot be rendered into a prompt.
    #[error(transparent)]
    Chat(Arc<ChatError>),
    /// The request did not finish in time.
    #[error("the time limit of {limit_ms} ms was reached after {} tokens; raise max_time_ms", partial.tokens.len())]
    Timeout {
        /// The limit.
        limit_ms: u64,
        /// The output so far.
        partial: Box<Completion>,
    },
    /// The logits of a step contain NaN or infinity, so no token can be trusted.
    #[error(
        "the model computed {value} for token {token} at position {position}; its weights may be damaged, check the model file"
    )]
    InvalidLogits {
        /// The value found.
        value: f32,
        /// The token whose logit it is.
        token: usize,
        /// The position to be sampled.
        position: usize,
    },
    /// The grammar does not compile, or became too large while matching.
    #[error("the grammar cannot be used: {message}; correct or simplify it")]
    Grammar {
        /// What is wrong.
        message: String,
    },
    /// There was no room to compile the grammar in time, because of others.
    #[error("other grammars were being compiled for {limit_ms} ms; retry later")]
    GrammarsBusy {
        /// The time in which it should have been compiled.
        limit_ms: u64,
    },
    /// The text ended before it formed a value of the requested type.
    #[cfg(feature = "typed")]
    #[error(
        "the text ended with {finish_reason} before it was a complete value: {text:?}; raise max_new_tokens"
    )]
    Incomplete {
        /// Why it ended.
        finish_reason: crate::FinishReason,
        /// The text.
        text: String,
        /// The parse error.
        source: serde_json::Error,
    },
    /// The options forbid every token.
    #[error(
        "every token is forbidden at position {position}; relax logit_bias, allowed_tokens, bad_words, the grammar or the stop rules"
    )]
    NoCandidates {
        /// The position to be sampled.
        position: usize,
    },
    /// The request names an unknown model.
    #[error("unknown model {name:?}; the known models are {known}")]
    UnknownModel {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// A model could not be loaded on demand.
    #[error("cannot load model {name:?}: {source}")]
    ModelLoad {
        /// The name.
        name: String,
        /// The cause, shared by all callers waiting for this load.
        source: Arc<Error>,
    },
    /// A model does not fit next to the loaded ones, all of which are in use.
    #[error(
        "the model needs {needed} but {free} of {limit} are free and every loaded model is in use; retry later or raise the budget"
    )]
    ModelsInUse {
        /// Bytes the model needs.
        needed: ByteSize,
        /// Bytes left in the budget.
        free: ByteSize,
        /// The budget.
        limit: ByteSize,
    },
    /// One of the request's custom logits filters panicked.
    #[error("a logits filter of this request panicked: {message}; other requests are not affected")]
    FilterPanicked {
        /// The panic message.
        message: String,
    },
    /// The engine shut down before the request finished, or before the call reached it.
    #[error("the engine has shut down; start another one")]
    ShutDown,
    /// A blocking call on the engine's own thread, which would deadlock.
    #[error(
        "a callback, sink, observer, filter or waker must not block on its own engine; use the asynchronous call or another thread"
    )]
    EngineThread,
    /// The request was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The KV cache rejected the request.
    #[error(transparent)]
    Cache(CacheError),
    /// The scheduler rejected the request or the configuration.
    #[error(transparent)]
    Batching(BatchingError),
    /// A step failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A model failed to load, or an engine failed to start.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Error {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Validation { .. }
            | Self::NoTokenizer
            | Self::Tokenizer(_)
            | Self::Chat(_)
            | Self::Grammar { .. }
            | Self::NoCandidates { .. }
            | Self::UnknownModel { .. } => ErrorKind::InvalidRequest,
            Self::ResourceLimit { resource, .. } if resource.is_transient() => ErrorKind::Overloaded,
            Self::ResourceLimit { .. } => ErrorKind::Limit,
            Self::Cache(error) if error.is_transient() => ErrorKind::Overloaded,
            Self::Cache(_) | Self::Batching(_) => ErrorKind::InvalidRequest,
            #[cfg(feature = "typed")]
            Self::Incomplete { finish_reason, .. } => match finish_reason {
                crate::FinishReason::Length | crate::FinishReason::ContextLimit => ErrorKind::Limit,
                _ => ErrorKind::Model,
            },
            Self::ModelLoad { source, .. } => source.kind(),
            Self::ShutDown | Self::ModelsInUse { .. } | Self::GrammarsBusy { .. } => ErrorKind::Overloaded,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::InvalidLogits { .. } => ErrorKind::Model,
            Self::Exec(_) => ErrorKind::Device,
            Self::Load(error) => error.kind(),
            Self::FilterPanicked { .. } | Self::EngineThread => ErrorKind::Internal,
        }
    }

    /// Whether the queue is full, so that the same request may be accepted later.
    pub(crate) fn is_full_queue(&self) -> bool {
        match self {
            Self::ResourceLimit { resource: LimitedResource::Queue(limit), .. } => limit.is_transient(),
            _ => false,
        }
    }

    pub(crate) fn validation(field: &'static str, message: impl Into<String>) -> Self {
        Self::Validation { field, message: message.into() }
    }

    pub(crate) fn limit(resource: LimitedResource, limit: usize, actual: usize) -> Self {
        Self::ResourceLimit { resource, limit: limit as u64, actual: actual as u64 }
    }
}

impl From<CacheError> for Error {
    /// Maps every limit to [`Error::ResourceLimit`], whichever crate checks it.
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::ResourceLimit { resource, limit, actual } => {
                Self::ResourceLimit { resource: LimitedResource::Cache(resource), limit, actual }
            }
            other => Self::Cache(other),
        }
    }
}

impl From<BlankSessionId> for Error {
    fn from(error: BlankSessionId) -> Self {
        CacheError::from(error).into()
    }
}

impl From<BatchingError> for Error {
    /// Maps every limit to [`Error::ResourceLimit`], whichever crate checks it.
    fn from(error: BatchingError) -> Self {
        match error {
            BatchingError::ResourceLimit { resource, limit, actual } => {
                Self::ResourceLimit { resource: LimitedResource::Queue(resource), limit, actual }
            }
            BatchingError::Cache(error) => error.into(),
            other => Self::Batching(other),
        }
    }
}

impl From<ChatError> for Error {
    fn from(error: ChatError) -> Self {
        Self::Chat(Arc::new(error))
    }
}

impl From<sm_model::LoadError> for Error {
    fn from(error: sm_model::LoadError) -> Self {
        LoadError::from(error).into()
    }
}

impl From<PrepareError> for Error {
    fn from(error: PrepareError) -> Self {
        LoadError::from(error).into()
    }
}

impl From<KvDiskError> for Error {
    fn from(error: KvDiskError) -> Self {
        LoadError::from(error).into()
    }
}

#[cfg(test)]
mod tests;
