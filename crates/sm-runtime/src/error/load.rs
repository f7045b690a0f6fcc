//! Errors of loading a model or starting an engine.

use std::fmt;
use std::path::PathBuf;

use sm_cache::ByteSize;
use sm_kernels::plan::PrepareError;
use sm_model::tokenizer::TokenizerError;

use super::{ErrorKind, KvDiskError};

/// An error of loading a model or starting an engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The model's files cannot be read, or the model is not supported.
    #[error(transparent)]
    Model(#[from] sm_model::LoadError),
    /// The model's tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(TokenizerError),
    /// The demo model was requested, but the build does not include it.
    #[error(
        "this build does not include the demo model; build with the feature `demo-model`, or pass the path of a model"
    )]
    NoDemoModel,
    /// The build contains no backend that can run the model.
    #[error("this build cannot run models on the CPU; build with the feature `cpu`")]
    NoBackend,
    /// The backend cannot prepare the model.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The model needs more memory than is available or allowed. Detected before allocation.
    #[error("{what} need {needed} but {bound} {limit}; {}", bound.remedy())]
    InsufficientMemory {
        /// What the memory is for.
        what: String,
        /// How much is needed.
        needed: ByteSize,
        /// How much is available or allowed.
        limit: ByteSize,
        /// Where the limit comes from.
        bound: MemoryBound,
    },
    /// The draft and target models have different vocabularies.
    #[error(
        "the draft model has {draft} tokens and the model {target}{}; both must have the same vocabulary",
        token.map_or(String::new(), |token| format!(", and token {token} differs"))
    )]
    DraftVocabulary {
        /// Vocabulary size of the draft model.
        draft: usize,
        /// Vocabulary size of the target model.
        target: usize,
        /// The first token that differs.
        token: Option<u32>,
    },
    /// The attached tokenizer does not fit the model.
    #[error(
        "the tokenizer has {tokenizer} tokens and the model {model}; attach the tokenizer that the model was trained with"
    )]
    TokenizerVocabulary {
        /// Vocabulary size of the tokenizer.
        tokenizer: usize,
        /// Vocabulary size of the model.
        model: usize,
    },
    /// The model was built on a single executor, which an engine or generator already uses.
    #[error("the model's only executor is in use; load the model from files to start several engines")]
    ExecutorTaken,
    /// Packed weights cannot be stored.
    #[error("cannot store packed weights in {}; choose another directory or disable packed weights", path.display())]
    PackedDir {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The disk tier of the KV cache cannot be used.
    #[error(transparent)]
    KvDisk(#[from] KvDiskError),
    /// A thread could not be started.
    #[error("cannot start the thread {name}; the system may be short of memory or threads")]
    Thread {
        /// Its name.
        name: &'static str,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The thread that loaded the model panicked.
    #[error("loading the model panicked; this is a bug, please report it with the panic's message on stderr")]
    Panicked,
}

impl LoadError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Model(_)
            | Self::Tokenizer(_)
            | Self::DraftVocabulary { .. }
            | Self::Prepare(PrepareError::Weight(_)) => ErrorKind::Model,
            Self::NoDemoModel
            | Self::NoBackend
            | Self::TokenizerVocabulary { .. }
            | Self::ExecutorTaken
            | Self::PackedDir { .. }
            | Self::Prepare(PrepareError::InvalidLimit { .. }) => ErrorKind::InvalidRequest,
            Self::InsufficientMemory { bound: MemoryBound::Configured, .. } => ErrorKind::Limit,
            Self::KvDisk(error) => error.kind(),
            Self::InsufficientMemory { bound: MemoryBound::Available, .. }
            | Self::Prepare(PrepareError::OutOfMemory { .. } | PrepareError::Unsupported(_))
            | Self::Thread { .. } => ErrorKind::Device,
            // Backend and model disagree about the plan or its weights.
            Self::Prepare(_) | Self::Panicked => ErrorKind::Internal,
        }
    }
}

/// The origin of a memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryBound {
    /// The configured limit.
    Configured,
    /// The machine's available memory.
    Available,
}

impl MemoryBound {
    fn remedy(self) -> &'static str {
        match self {
            Self::Configured => {
                "raise the limit, quantize to fewer bits, shorten the context or run fewer sequences at a time"
            }
            Self::Available => {
                "quantize to fewer bits, shorten the context, run fewer sequences at a time, or close other programs"
            }
        }
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "the configuration allows",
            Self::Available => "the machine has",
        })
    }
}
