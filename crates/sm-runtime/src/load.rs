//! From a path to a model that is ready to run.

use std::fmt;
use std::path::Path;

use sm_kernels::plan::{Executor, ExecutorInfo, KvDType, Progress};
use sm_tensor::DType;

use crate::Error;
use crate::text::TextCodec;

/// How a model is made ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Positions per sequence, prompt and output together. By default the model's own, at most 4096.
    pub context_len: Option<usize>,
    /// Worker threads. By default one per core.
    pub n_threads: Option<usize>,
    /// Quantizes matrices that the file holds in a wider type. By default they stay as they are.
    pub quant: Option<DType>,
    /// How keys and values are kept. F16 by default.
    pub kv_dtype: KvDType,
    /// The kernel set (`scalar`, `avx2`, `avx512`, …), for tests and comparisons. By default the best of the machine.
    pub isa: Option<String>,
    /// Rows in one step: the length of a prompt's chunks. 512 by default.
    pub max_step_tokens: usize,
    /// Rows of one step whose logits can be had: 1 to generate (the default), more to score text quickly.
    pub max_outputs: usize,
    /// Sequences that can be in one step. 1 by default; [`Bench`](crate::Bench) uses more.
    pub n_sequences: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            context_len: None,
            n_threads: None,
            quant: None,
            kv_dtype: KvDType::default(),
            isa: None,
            max_step_tokens: 512,
            max_outputs: 1,
            n_sequences: 1,
        }
    }
}

/// A model whose weights lie packed on a backend, with its tokenizer.
pub struct LoadedModel {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) codec: Box<dyn TextCodec>,
    pub(crate) vocab_size: usize,
    pub(crate) context_len: usize,
}

impl LoadedModel {
    /// Reads a model directory or file and makes it ready on the CPU; `progress` tells how far packing has come.
    ///
    /// # Errors
    /// If the model cannot be read, is not supported, or does not fit into memory; if an option is impossible.
    pub fn load(
        path: &Path,
        options: &LoadOptions,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Self, Error> {
        let _ = (options, progress);
        Err(Error::validation("model", format!("{}: no reader is built in yet", path.display())))
    }

    /// The backend, its kernels, workers and memory.
    pub fn info(&self) -> &ExecutorInfo {
        self.executor.info()
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Positions per sequence that this model was made ready for.
    pub fn context_len(&self) -> usize {
        self.context_len
    }
}

impl fmt::Debug for LoadedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedModel")
            .field("executor", &self.executor)
            .field("vocab_size", &self.vocab_size)
            .field("context_len", &self.context_len)
            .finish()
    }
}
