//! A loaded model.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sm_cache::{KvShape, PagePool};
use sm_kernels::plan::{Backend, Executor, PAGE_LEN, Plan, RopeRange, Weights};
use sm_model::chat::{ChatError, ChatTemplate};
use sm_model::tokenizer::{Guard, Tokenizer};
use sm_model::{Fallback, LoadNote, SamplingDefaults};

use super::memory::{WeightState, executor_limits, page_bytes};
use super::{ExecutorOptions, ModelFacts};
use crate::grammar::{GrammarLimits, Grammars};
use crate::input::ModelBounds;
use crate::prompt::Template;
use crate::text::Text;
use crate::{Error, LoadError};

/// A model whose weights are packed for a device, with its tokenizer and chat template.
///
/// Clones, and engines and generators started on them, share the weights, whatever their cache and batch sizes: each adds
/// an executor with its own pages and buffers. The weights are freed with the last of them.
///
/// ```
/// # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
/// use sm_runtime::{Engine, EngineConfig, ExecutorOptions, Loader, ModelRef};
///
/// let model = Loader::new(ModelRef::Demo).load()?;
/// let config = |kv_bytes| EngineConfig::new().executor(ExecutorOptions::new().kv_bytes(kv_bytes));
/// let small = Engine::start(model.clone(), config(16 << 20))?;
/// let large = Engine::start(model, config(64 << 20))?;
/// assert!(small.info().kv_bytes < large.info().kv_bytes);
/// # }
/// # Ok::<(), sm_runtime::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LoadedModel {
    pub(super) executors: Arc<ExecutorSource>,
    pub(crate) text: Text,
    pub(crate) grammars: Grammars,
    pub(crate) vocab_size: usize,
    pub(crate) context_len: usize,
    /// The length beyond which a sequence is turned by other frequencies.
    pub(super) rope_extended_beyond: Option<usize>,
    pub(super) fallbacks: Arc<[Fallback]>,
    pub(super) notes: Arc<[LoadNote]>,
    pub(super) sampling_defaults: SamplingDefaults,
    pub(super) facts: Option<Arc<ModelFacts>>,
    /// Of the weights, if it was asked for.
    pub(crate) fingerprint: Option<String>,
    /// An unusable template only fails requests that use it.
    pub(crate) chat: Result<ChatTemplate, Arc<ChatError>>,
    /// Of the tokenizer, made when the first chat needs it.
    pub(super) guard: Arc<OnceLock<Option<Guard>>>,
}

/// Where a model's executors come from.
pub(super) enum ExecutorSource {
    /// A backend prepares any number of executors on the same weights.
    Backend { backend: Box<dyn Backend>, plan: Box<Plan>, weights: Arc<dyn Weights> },
    /// The caller provided one; the first user takes it.
    Given { executor: Mutex<Option<Box<dyn Executor>>>, page_bytes: u64 },
}

/// An executor with its own pages and buffers.
#[derive(Debug)]
pub(crate) struct PreparedExecutor {
    pub(crate) executor: Box<dyn Executor>,
    /// Bytes per page across all layers.
    pub(crate) page_bytes: u64,
}

impl fmt::Debug for ExecutorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend { backend, weights, .. } => {
                write!(f, "{} with {} bytes of weights", backend.name(), weights.n_bytes())
            }
            Self::Given { .. } => f.write_str("given"),
        }
    }
}

impl LoadedModel {
    /// The same model, whose requests' grammars are compiled within other limits.
    pub(crate) fn with_grammar_limits(self, limits: GrammarLimits) -> Self {
        Self { grammars: self.grammars.with_limits(limits), ..self }
    }

    /// A model on a custom executor, for example to measure or test the layers around it. It has no chat template, and
    /// supports only one engine or generator.
    ///
    /// `kv_shape` describes one position in the executor's pages.
    pub fn from_executor(
        executor: Box<dyn Executor>,
        tokenizer: Option<Arc<dyn Tokenizer>>,
        vocab_size: usize,
        context_len: usize,
        kv_shape: KvShape,
    ) -> Self {
        let no_template = ChatError::NoTemplate { model: "a model with a custom executor".to_owned() };
        let executor = Mutex::new(Some(executor));
        let page_bytes = PagePool::new(1, PAGE_LEN, kv_shape).page_bytes().unwrap_or(u64::MAX);
        Self {
            executors: Arc::new(ExecutorSource::Given { executor, page_bytes }),
            text: Text::new(tokenizer),
            grammars: Grammars::default(),
            vocab_size,
            context_len,
            rope_extended_beyond: None,
            fallbacks: Arc::new([]),
            notes: Arc::new([]),
            sampling_defaults: SamplingDefaults::default(),
            facts: None,
            fingerprint: None,
            chat: Err(Arc::new(no_template)),
            guard: Arc::default(),
        }
    }

    /// Sets the fingerprint by which the disk tier identifies the weights.
    #[must_use]
    pub fn with_fingerprint(self, fingerprint: &str) -> Self {
        Self { fingerprint: Some(fingerprint.to_owned()), ..self }
    }

    /// Replaces the chat template.
    #[must_use]
    pub fn with_chat_template(self, template: ChatTemplate) -> Self {
        Self { chat: Ok(template), ..self }
    }

    /// Prepares an executor on the model's weights.
    ///
    /// # Errors
    /// If an option is invalid or memory runs out; [`LoadError::ExecutorTaken`].
    pub(crate) fn prepare(&self, options: &ExecutorOptions) -> Result<PreparedExecutor, Error> {
        options.validate()?;
        match &*self.executors {
            ExecutorSource::Given { executor, page_bytes } => {
                let executor = executor.lock().unwrap_or_else(PoisonError::into_inner).take();
                let executor = executor.ok_or(LoadError::ExecutorTaken)?;
                Ok(PreparedExecutor { executor, page_bytes: *page_bytes })
            }
            ExecutorSource::Backend { backend, plan, weights } => {
                let limits = executor_limits(&**backend, plan, options, WeightState::Loaded)?;
                let executor = backend.prepare_loaded(plan, weights, limits)?;
                Ok(PreparedExecutor { executor, page_bytes: page_bytes(&plan.cache, options.kv_dtype) })
            }
        }
    }

    /// The template that messages become a prompt by.
    pub(crate) fn template(&self) -> Result<Template<'_>, &Arc<ChatError>> {
        let template = self.chat.as_ref()?;
        // A vocabulary whose control tokens cannot be searched for cannot be encoded with either.
        let guard = || self.text.tokenizer().and_then(|tokenizer| Guard::new(tokenizer.vocabulary()).ok());
        Ok(Template { template, guard: self.guard.get_or_init(guard).as_ref() })
    }

    /// Which frequencies turn a sequence that may reach `n_tokens`.
    pub(crate) fn rope_range(&self, n_tokens: usize) -> RopeRange {
        match self.rope_extended_beyond {
            Some(beyond) if n_tokens > beyond => RopeRange::Extended,
            _ => RopeRange::Original,
        }
    }

    /// What prompts are checked against.
    pub(crate) fn bounds(&self) -> ModelBounds {
        ModelBounds { vocab_size: self.vocab_size, context_len: self.context_len, bos: self.text.bos() }
    }

    /// The tokenizer, if the model has one.
    pub fn tokenizer(&self) -> Option<&Arc<dyn Tokenizer>> {
        self.text.tokenizer()
    }

    /// The chat template.
    ///
    /// # Errors
    /// If there is none, or it is unusable.
    pub fn chat_template(&self) -> Result<&ChatTemplate, &ChatError> {
        self.chat.as_ref().map_err(|error| &**error)
    }

    /// How the model's authors recommend to sample, as its files say. A request has these values if its options are made from
    /// them: [`SamplingOptions::of_model`](crate::SamplingOptions::of_model).
    pub fn sampling_defaults(&self) -> &SamplingDefaults {
        &self.sampling_defaults
    }

    /// What the model's files say about it; `None` of a model on a custom executor.
    pub fn facts(&self) -> Option<&ModelFacts> {
        self.facts.as_deref()
    }

    /// Number of tokens in the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Maximum positions per sequence that the model was loaded for.
    pub fn context_len(&self) -> usize {
        self.context_len
    }

    /// Bytes of the packed weights, shared by all clones.
    pub fn weight_bytes(&self) -> usize {
        match &*self.executors {
            ExecutorSource::Backend { weights, .. } => weights.n_bytes(),
            ExecutorSource::Given { .. } => 0,
        }
    }

    /// Whether both refer to the same weights in memory, not just equal ones.
    pub fn shares_weights_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.executors, &other.executors)
    }

    /// Matrices that could not be quantized as [`LoadOptions::quant`](crate::LoadOptions::quant) requests.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }

    /// What was changed or left out to load a quantized checkpoint.
    pub fn notes(&self) -> &[LoadNote] {
        &self.notes
    }
}

#[cfg(test)]
impl LoadedModel {
    /// Wraps the model's executor.
    pub(crate) fn map_executor(self, map: impl FnOnce(Box<dyn Executor>) -> Box<dyn Executor>) -> Self {
        let PreparedExecutor { executor, page_bytes } = self.prepare(&ExecutorOptions::default()).unwrap();
        let executor = Mutex::new(Some(map(executor)));
        Self { executors: Arc::new(ExecutorSource::Given { executor, page_bytes }), ..self }
    }
}
