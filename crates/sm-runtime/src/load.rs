//! From a path to a model that is ready to run.

mod packed;
mod weights;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sm_cache::{ByteSize, KvShape, PagePool};
use sm_kernels::plan::{
    Backend, Executor, ExecutorInfo, KvDType, Limits, MemoryNeeds, PAGE_LEN, PageGroup, Plan, Progress,
};
use sm_model::chat::{ChatError, ChatTemplate};
use sm_model::metadata::Metadata;
use sm_model::tokenizer::{self, GgufTokenizer, Tokenizer, TokenizerError};
use sm_model::{Fallback, Model, ModelSource};
use sm_tensor::DType;

use crate::grammar::Grammars;
use crate::input::ModelBounds;
use crate::kv_disk::weights_fingerprint;
use crate::text::Text;
use crate::{CancelToken, Error, MemoryBound, ModelRef, backend};
use packed::PackedFile;
use weights::Source;

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
    /// Sequences that can be in one step. 1 by default; an engine needs as many as shall run at a time.
    pub n_sequences: usize,
    /// Bytes of the pool of keys and values. By default just what `n_sequences` full contexts need.
    pub kv_bytes: Option<u64>,
    /// Bytes that keys and values may take together with activations and scratch. By default no limit but `kv_bytes`.
    pub pool_bytes: Option<u64>,
    /// Bytes that all may take: weights, keys and values, activations and scratch. What needs more is refused before it is
    /// loaded. Without a limit, what needs more than the machine can give for one context is.
    pub memory_limit: Option<u64>,
    /// Where packed weights are kept: the next loading maps them, which takes about as long as reading them once, and
    /// processes share the memory. A file for each model, as large as its weights. Nowhere by default.
    pub packed_dir: Option<PathBuf>,
    /// Whether the weights get a fingerprint, by which the disk tier ([`KvDiskConfig`](crate::KvDiskConfig)) knows them.
    /// Reads all of them once. Off by default.
    pub fingerprint: bool,
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
            kv_bytes: None,
            pool_bytes: None,
            memory_limit: None,
            packed_dir: None,
            fingerprint: false,
        }
    }
}

impl LoadOptions {
    fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("context_len", self.context_len),
            ("n_threads", self.n_threads),
            ("max_step_tokens", Some(self.max_step_tokens)),
            ("max_outputs", Some(self.max_outputs)),
            ("n_sequences", Some(self.n_sequences)),
        ];
        match counts.into_iter().find(|(_, count)| *count == Some(0)) {
            Some((field, _)) => Err(Error::validation(field, "0 is not possible; it must be at least 1")),
            None => Ok(()),
        }
    }

    /// The limits of an executor of a plan, if what it takes may be had.
    fn limits(&self, backend: &dyn Backend, plan: &Plan, shape: KvShape) -> Result<Limits, Error> {
        let max_tokens = self.max_step_tokens.max(self.n_sequences);
        let n_pages = plan.context_len.div_ceil(PAGE_LEN);
        let one_context = Limits {
            max_tokens,
            max_outputs: self.max_outputs.min(max_tokens),
            max_sequences: self.n_sequences,
            n_pages,
            n_state_slots: 0,
            kv_dtype: self.kv_dtype,
        };
        let least = backend.memory_needs(plan, &one_context)?;
        let limits = Limits { n_pages: self.n_pages(n_pages, shape, least.activation_bytes)?, ..one_context };
        match (self.memory_limit, backend.available_bytes()) {
            (Some(limit), _) => {
                check_memory(&backend.memory_needs(plan, &limits)?, limit, MemoryBound::Configured)?;
            }
            // Pages beyond one context take memory when they are used, and make way for each other.
            (None, Some(limit)) => check_memory(&least, limit, MemoryBound::Available)?,
            (None, None) => {}
        }
        Ok(limits)
    }

    /// Pages of the pool; at least the `needed` of a whole context.
    fn n_pages(&self, needed: usize, shape: KvShape, activation_bytes: usize) -> Result<usize, Error> {
        let pool_bytes = self.pool_bytes.map(|bytes| bytes.saturating_sub(activation_bytes as u64));
        let Some(limit_bytes) = self.kv_bytes.into_iter().chain(pool_bytes).min() else {
            return Ok(self.n_sequences.saturating_mul(needed));
        };
        let page = PagePool { n_pages: 1, page_len: PAGE_LEN, shape };
        let page_bytes = page.page_bytes().unwrap_or(u64::MAX).max(1);
        let needed_bytes = page_bytes.saturating_mul(needed as u64);
        if needed_bytes > limit_bytes {
            return Err(Error::InsufficientMemory {
                what: "keys and values of one context".to_owned(),
                needed: ByteSize(needed_bytes),
                limit: ByteSize(limit_bytes),
                bound: MemoryBound::Configured,
            });
        }
        let most = match self.kv_bytes {
            Some(_) => u64::from(u32::MAX),
            None => self.n_sequences.saturating_mul(needed) as u64,
        };
        Ok((limit_bytes / page_bytes).min(most) as usize)
    }
}

/// Whether what is needed is within a limit.
fn check_memory(needs: &MemoryNeeds, limit: u64, bound: MemoryBound) -> Result<(), Error> {
    let needed = needs.total_bytes() as u64;
    if needed <= limit {
        return Ok(());
    }
    let [weights, kv, activations] =
        [needs.weight_bytes, needs.kv_bytes, needs.activation_bytes].map(|n_bytes| ByteSize(n_bytes as u64));
    let what = format!("weights ({weights}), keys and values ({kv}) and activations ({activations})");
    Err(Error::InsufficientMemory { what, needed: ByteSize(needed), limit: ByteSize(limit), bound })
}

/// A model whose weights lie packed on a backend, with its tokenizer.
#[derive(Debug)]
pub struct LoadedModel {
    pub(crate) executor: Box<dyn Executor>,
    pub(crate) text: Text,
    pub(crate) grammars: Grammars,
    pub(crate) vocab_size: usize,
    pub(crate) context_len: usize,
    pub(crate) fallbacks: Vec<Fallback>,
    /// Of the weights, if it was asked for.
    pub(crate) fingerprint: Option<String>,
    /// What a position needs in the pages.
    pub(crate) kv_shape: KvShape,
    /// A template that cannot be used is an error of those who use it, not of the model.
    pub(crate) chat: Result<ChatTemplate, ChatError>,
}

impl LoadedModel {
    /// Reads a model and makes it ready on the CPU; `progress` tells how far packing has come.
    ///
    /// # Errors
    /// If the model cannot be read, is not supported, or does not fit into memory; if an option is impossible.
    pub fn load<'a>(
        model: impl Into<ModelRef<'a>>,
        options: &LoadOptions,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Self, Error> {
        Self::load_until(model, options, progress, &CancelToken::new())
    }

    /// What [`LoadedModel::load`] would take, found without loading.
    ///
    /// # Errors
    /// As [`LoadedModel::load`], as far as it can be told; [`Error::InsufficientMemory`] first of all.
    pub fn memory_needs<'a>(
        model: impl Into<ModelRef<'a>>,
        options: &LoadOptions,
    ) -> Result<MemoryNeeds, Error> {
        options.validate()?;
        let backend = backend::cpu(options)?;
        let LoadOptions { context_len, quant, .. } = *options;
        let model = model.into().open(&sm_model::LoadOptions { context_len, quant })?;
        let limits = options.limits(&*backend, &model.plan, kv_shape(&model, options.kv_dtype))?;
        Ok(backend.memory_needs(&model.plan, &limits)?)
    }

    /// As [`LoadedModel::load`], until somebody cancels it: that ends it within some rows of a matrix.
    ///
    /// # Errors
    /// As [`LoadedModel::load`]; [`Error::Cancelled`].
    pub fn load_until<'a>(
        model: impl Into<ModelRef<'a>>,
        options: &LoadOptions,
        progress: &(dyn Fn(Progress) + Sync),
        cancel: &CancelToken,
    ) -> Result<Self, Error> {
        options.validate()?;
        let backend = backend::cpu(options)?;
        let LoadOptions { context_len, quant, .. } = *options;
        let model = model.into().open(&sm_model::LoadOptions { context_len, quant })?;
        let plan = &model.plan;
        let kv_shape = kv_shape(&model, options.kv_dtype);
        let limits = options.limits(&*backend, plan, kv_shape)?;
        let kept =
            options.packed_dir.as_deref().map(|dir| PackedFile::of(dir, &model, options)).transpose()?;
        let weights = Source { weights: &model.weights, cancel, kept: kept.flatten() };
        // A large vocabulary takes as long as the weights of a small model.
        let (executor, text) = std::thread::scope(|scope| {
            let text = scope.spawn(|| tokenizer(&model).map(Text));
            let executor = backend.load_and_prepare(plan, &weights, limits, progress);
            (executor, text.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let (executor, text) = (executor?, text?);
        let fingerprint = options.fingerprint.then(|| weights_fingerprint(&model));
        Ok(Self {
            executor,
            chat: chat_template(&model, &text),
            text,
            grammars: Grammars::default(),
            vocab_size: plan.vocab_size(),
            context_len: plan.context_len,
            fallbacks: model.weights.fallbacks().to_vec(),
            fingerprint,
            kv_shape,
        })
    }

    /// A model on an executor of one's own, say to measure or to test what surrounds it; without chat templates.
    ///
    /// `kv_shape` is what a position needs in the executor's pages.
    pub fn from_executor(
        executor: Box<dyn Executor>,
        tokenizer: Option<Arc<dyn Tokenizer>>,
        vocab_size: usize,
        context_len: usize,
        kv_shape: KvShape,
    ) -> Self {
        let chat = Err(ChatError::NoTemplate { model: "a model on an executor of one's own".to_owned() });
        let (text, grammars, fallbacks) = (Text(tokenizer), Grammars::default(), Vec::new());
        let fingerprint = None;
        Self { executor, text, grammars, vocab_size, context_len, fallbacks, fingerprint, kv_shape, chat }
    }

    /// Gives a model on an executor of one's own the fingerprint by which the disk tier knows its weights.
    #[must_use]
    pub fn with_fingerprint(self, fingerprint: &str) -> Self {
        Self { fingerprint: Some(fingerprint.to_owned()), ..self }
    }

    /// What prompts are checked against.
    pub(crate) fn bounds(&self) -> ModelBounds {
        let (vocab_size, context_len) = (self.vocab_size, self.context_len);
        ModelBounds { vocab_size, context_len, bos: self.text.bos() }
    }

    /// The backend, its kernels, workers and memory.
    pub fn info(&self) -> &ExecutorInfo {
        self.executor.info()
    }

    /// The tokenizer, if the model has one.
    pub fn tokenizer(&self) -> Option<&Arc<dyn Tokenizer>> {
        self.text.0.as_ref()
    }

    /// The chat templates that come with the model.
    ///
    /// # Errors
    /// If there are none, or they cannot be used.
    pub fn chat_template(&self) -> Result<&ChatTemplate, &ChatError> {
        self.chat.as_ref()
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Positions per sequence that this model was made ready for.
    pub fn context_len(&self) -> usize {
        self.context_len
    }

    /// Matrices that could not be quantized as [`LoadOptions::quant`] asks.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }
}

/// Bytes that the weights of a model will take, which is not loaded for it.
///
/// # Errors
/// If it cannot be read or is not supported; if an option is impossible.
pub(crate) fn weight_bytes(model: ModelRef<'_>, options: &LoadOptions) -> Result<u64, Error> {
    options.validate()?;
    let LoadOptions { context_len, quant, max_step_tokens, kv_dtype, .. } = *options;
    let model = model.open(&sm_model::LoadOptions { context_len, quant })?;
    let limits = Limits { max_tokens: max_step_tokens, n_pages: 1, kv_dtype, ..Limits::one_sequence(1) };
    Ok(backend::cpu(options)?.memory_needs(&model.plan, &limits)?.weight_bytes as u64)
}

/// What a position of a sequence needs in the pages.
fn kv_shape(model: &Model, kv_dtype: KvDType) -> KvShape {
    let layout = model.spec.cache_layout();
    // Where layers differ, each counts as much as the largest: a bound, since a `KvShape` has one shape for all.
    let largest = |of: fn(&PageGroup) -> usize| layout.pages.iter().map(of).max().unwrap_or(0);
    let head_dim = largest(|group| group.key_dim.max(group.value_dim));
    KvShape {
        n_layers: layout.n_kv_layers(),
        n_kv_heads: largest(|group| group.n_kv_heads),
        head_bytes: kv_dtype.head_bytes(head_dim),
    }
}

/// The tokenizer of a model that need not run.
///
/// # Errors
/// If the model cannot be read, is not supported, or has no tokenizer.
pub fn load_tokenizer<'a>(model: impl Into<ModelRef<'a>>) -> Result<Arc<dyn Tokenizer>, Error> {
    let model = model.into().open(&sm_model::LoadOptions::default())?;
    tokenizer(&model)?.ok_or(Error::NoTokenizer)
}

/// The chat templates that come with a model.
fn chat_template(model: &Model, text: &Text) -> Result<ChatTemplate, ChatError> {
    match (&model.source, &text.0) {
        (ModelSource::Directory(dir), _) => ChatTemplate::load(dir),
        (ModelSource::Gguf { metadata, .. }, Some(tokenizer)) => {
            ChatTemplate::from_metadata(metadata, tokenizer.vocabulary())
        }
        (ModelSource::Gguf { path, .. } | ModelSource::Smnd { path, .. }, _) => {
            Err(ChatError::NoTemplate { model: path.display().to_string() })
        }
    }
}

/// The tokenizer that comes with a model or lies beside its file, if any: a model without one can still continue token
/// ids.
fn tokenizer(model: &Model) -> Result<Option<Arc<dyn Tokenizer>>, Error> {
    let loaded = match &model.source {
        ModelSource::Directory(dir) => tokenizer::load_tokenizer(dir),
        ModelSource::Gguf { metadata, .. } if has_vocabulary(metadata)? => {
            GgufTokenizer::from_metadata(metadata).map(|tokenizer| Arc::new(tokenizer) as Arc<dyn Tokenizer>)
        }
        ModelSource::Gguf { path, .. } | ModelSource::Smnd { path, .. } => {
            let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
            tokenizer::load_tokenizer(directory.unwrap_or(Path::new(".")))
        }
    };
    match loaded {
        Ok(tokenizer) => Ok(Some(tokenizer)),
        Err(TokenizerError::NoTokenizer { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a GGUF file holds a vocabulary; files without one leave the key out or say `none`.
fn has_vocabulary(metadata: &Metadata) -> Result<bool, Error> {
    let kind: Option<&str> = metadata.get("tokenizer.ggml.model")?;
    Ok(!matches!(kind, None | Some("none" | "no_vocab")))
}

#[cfg(all(test, feature = "demo-model"))]
mod tests {
    use sm_kernels::plan::{PrepareError, WeightSource, Weights};

    use super::*;

    /// A device with so many bytes left.
    #[derive(Debug)]
    struct Small(u64);

    impl Backend for Small {
        fn name(&self) -> &'static str {
            "small"
        }

        fn memory_needs(&self, _plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError> {
            Ok(MemoryNeeds { weight_bytes: 1000, kv_bytes: limits.n_pages, activation_bytes: 24 })
        }

        fn available_bytes(&self) -> Option<u64> {
            Some(self.0)
        }

        fn load(
            &self,
            _plan: &Plan,
            _source: &dyn WeightSource,
            _progress: &(dyn Fn(Progress) + Sync),
        ) -> Result<Arc<dyn Weights>, PrepareError> {
            Err(PrepareError::Unsupported("it only counts".to_owned()))
        }

        fn prepare(
            &self,
            _plan: &Plan,
            _weights: &Arc<dyn Weights>,
            _limits: Limits,
        ) -> Result<Box<dyn Executor>, PrepareError> {
            Err(PrepareError::Unsupported("it only counts".to_owned()))
        }
    }

    #[test]
    fn what_the_machine_cannot_give_for_one_context_is_refused_unless_a_limit_says_otherwise() {
        let model = ModelRef::Demo.open(&sm_model::LoadOptions::default()).unwrap();
        let n_pages = model.plan.context_len / PAGE_LEN;
        let needed = 1024 + n_pages as u64;
        let shape = kv_shape(&model, KvDType::F16);
        let options = LoadOptions { n_sequences: 3, ..LoadOptions::default() };
        let limits = |options: &LoadOptions, available| options.limits(&Small(available), &model.plan, shape);
        assert_eq!(limits(&options, needed).unwrap().n_pages, 3 * n_pages);
        let error = limits(&options, needed - 1).unwrap_err().to_string();
        for part in
            ["weights (1000 B)", "activations (24 B)", "the machine can give", "quantize to fewer bits"]
        {
            assert!(error.contains(part), "{error}");
        }
        let own = LoadOptions { memory_limit: Some(1024 + 3 * n_pages as u64), ..options.clone() };
        limits(&own, 0).unwrap();
        let less = LoadOptions { memory_limit: Some(1023 + 3 * n_pages as u64), ..options };
        let bound = |error| match error {
            Error::InsufficientMemory { bound, .. } => bound,
            other => panic!("{other}"),
        };
        assert_eq!(bound(limits(&less, u64::MAX).unwrap_err()), MemoryBound::Configured);
    }
}
