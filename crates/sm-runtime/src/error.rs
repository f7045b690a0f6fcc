//! Everything that can go wrong between a path and a generated token.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sm_batching::BatchingError;
use sm_cache::{ByteSize, CacheError, Resource};
use sm_kernels::plan::{ExecError, PrepareError};
use sm_model::LoadError;
use sm_model::chat::ChatError;
use sm_model::tokenizer::TokenizerError;

use crate::{Completion, KvDiskError};

/// Everything that can go wrong between a path and a generated token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option has a value that cannot be.
    #[error("invalid {field}: {message}")]
    Validation {
        /// The option.
        field: &'static str,
        /// The value and the rule.
        message: String,
    },
    /// A limit was exceeded before any work was done.
    #[error("{resource} is {limit} but {actual} are needed; {remedy}")]
    ResourceLimit {
        /// What is limited: `max_input_tokens`, `context`, …
        resource: &'static str,
        /// The limit.
        limit: usize,
        /// What is needed at least.
        actual: usize,
        /// What the caller can do.
        remedy: &'static str,
    },
    /// A prompt without a token, for a model without a beginning-of-sequence token.
    #[error("the prompt is empty and the model has no beginning-of-sequence token; give a prompt")]
    EmptyPrompt,
    /// Text for a model without a tokenizer.
    #[error(
        "the model has no tokenizer; give token ids, or load it from files that hold one (tokenizer.json, or a GGUF with vocabulary)"
    )]
    NoTokenizer,
    /// The demo model was asked for in a build without it.
    #[error(
        "this build comes without the demo model; build it with the feature demo-model, or give the path of a model"
    )]
    NoDemoModel,
    /// The text could not be turned into tokens, or the tokenizer could not be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The messages of a chat could not become a prompt.
    #[error(transparent)]
    Chat(Arc<ChatError>),
    /// A blocking generation ran out of time.
    #[error("the time limit of {limit_ms} ms was reached after {} tokens; raise max_time_ms", partial.tokens.len())]
    Timeout {
        /// The limit.
        limit_ms: u64,
        /// What was generated until then.
        partial: Box<Completion>,
    },
    /// The logits of a step hold NaN or an infinity, so no token can be trusted.
    #[error(
        "the model computed {value} for token {token} at position {position}; the weights may be damaged"
    )]
    InvalidLogits {
        /// The value found.
        value: f32,
        /// The token whose logit it is.
        token: usize,
        /// The position of the token that was to be sampled.
        position: usize,
    },
    /// A grammar cannot be used, or cannot go on.
    #[error("the grammar cannot be used: {message}")]
    Grammar {
        /// What is wrong.
        message: String,
    },
    /// A text that was to be a value of a type ended before it was one.
    #[cfg(feature = "typed")]
    #[error("the text ended by {finish_reason} before it was a value: {text:?}; raise max_new_tokens")]
    Incomplete {
        /// Why it ended.
        finish_reason: crate::FinishReason,
        /// The text.
        text: String,
        /// Where it is no value.
        source: serde_json::Error,
    },
    /// Options forbid every token.
    #[error(
        "no token may follow at position {position}: logit_bias, allowed_tokens, bad_words, the grammar and the stop rules forbid \
         all of them"
    )]
    NoCandidates {
        /// The position of the token that was to be sampled.
        position: usize,
    },
    /// The memory that there is, or may be, does not do. Found before any of it is taken.
    #[error("{what} need {needed} but {bound} {limit}; {}", bound.remedy())]
    InsufficientMemory {
        /// What it is for.
        what: String,
        /// How much it needs.
        needed: ByteSize,
        /// How much there may be.
        limit: ByteSize,
        /// Who says so.
        bound: MemoryBound,
    },
    /// The draft model has other tokens than the model that it is to draft for.
    #[error(
        "the draft model has {draft} tokens and the model {target}{}; both must have the same vocabulary",
        token.map_or(String::new(), |token| format!(", and token {token} differs"))
    )]
    DraftVocabulary {
        /// Tokens of the draft model.
        draft: usize,
        /// Tokens of the model.
        target: usize,
        /// The first token that differs.
        token: Option<u32>,
    },
    /// A request names a model that there is not.
    #[error("there is no model {name:?}; there are {known}")]
    UnknownModel {
        /// The name.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A filter of the request's own panicked.
    #[error("a logits filter of this request panicked: {message}; other requests go on")]
    FilterPanicked {
        /// What it said.
        message: String,
    },
    /// The engine was shut down before the request ended.
    #[error("the engine has shut down")]
    ShutDown,
    /// A call that waits for the engine's thread, on that thread.
    #[error(
        "a callback, sink, observer or filter of an engine cannot wait for it; make the call from another thread"
    )]
    EngineThread,
    /// The engine's thread could not be started.
    #[error("cannot start a thread")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
    /// The KV cache refuses.
    #[error(transparent)]
    Cache(CacheError),
    /// Packed weights cannot be kept.
    #[error("packed weights cannot be kept in {}; choose another directory or none", path.display())]
    PackedDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk tier of the KV cache cannot be used.
    #[error(transparent)]
    KvDisk(#[from] KvDiskError),
    /// The queue or the scheduler refuses.
    #[error(transparent)]
    Batching(BatchingError),
    /// The request was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The model could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// This build contains no backend that could run the model.
    #[error("this build cannot run models on the CPU; build it with the feature `cpu`")]
    NoBackend,
    /// The backend could not make the model ready.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A step failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// What bounds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryBound {
    /// A limit of the configuration.
    Configured,
    /// What the machine can still give.
    Available,
}

impl MemoryBound {
    fn remedy(self) -> &'static str {
        match self {
            Self::Configured => {
                "raise the limit, quantize to fewer bits, shorten the context or run fewer sequences at a time"
            }
            Self::Available => {
                "quantize to fewer bits, shorten the context, run fewer sequences at a time, or end other programs"
            }
        }
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "the configuration allows",
            Self::Available => "the machine can give",
        })
    }
}

impl From<CacheError> for Error {
    /// A limit is one error, wherever it was met first.
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::ResourceLimit { resource, limit, actual } => Self::ResourceLimit {
                resource: resource.name(),
                limit: limit as usize,
                actual: actual as usize,
                remedy: match resource {
                    Resource::Sessions => "retry when a session is idle or raise the limit",
                    Resource::SessionTokens | Resource::SessionBytes | Resource::TotalBytes => {
                        "shorten the request or raise the limit"
                    }
                },
            },
            other => Self::Cache(other),
        }
    }
}

impl From<BatchingError> for Error {
    /// A limit is one error, wherever it was met first.
    fn from(error: BatchingError) -> Self {
        match error {
            BatchingError::ResourceLimit { resource, limit, actual } => Self::ResourceLimit {
                resource: resource.name(),
                limit: limit as usize,
                actual: actual as usize,
                remedy: if resource.is_transient() {
                    "retry later or raise the limit"
                } else {
                    "shorten the request or raise the limit"
                },
            },
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

impl Error {
    /// Whether the same request can be accepted when others have been served.
    pub(crate) fn is_full_queue(&self) -> bool {
        matches!(self, Self::ResourceLimit { resource: "max_queued_requests" | "max_queued_tokens", .. })
    }

    pub(crate) fn validation(field: &'static str, message: impl Into<String>) -> Self {
        Self::Validation { field, message: message.into() }
    }
}
