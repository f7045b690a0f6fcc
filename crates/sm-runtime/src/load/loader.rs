//! Loads models: the single entry point.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::Builder;

use sm_kernels::plan::{Backend, Limits, MemoryNeeds, Plan, Progress};
use sm_model::tokenizer::Tokenizer;
use sm_model::{Model, SamplingDefaults};

use super::chat::{chat_template, given_template, with_defaults};
use super::loaded::{ExecutorSource, LoadedModel};
use super::memory::{WeightState, executor_limits};
use super::packed::PackedFile;
use super::tokenizer::without_model;
use super::weights::LoadingWeights;
use super::{ExecutorOptions, LoadOptions, ModelFacts, TokenizerSource};
use crate::grammar::Grammars;
use crate::kv_disk::weights_fingerprint;
use crate::text::Text;
use crate::{CancelToken, Device, Error, ModelRef, backend, chunks};

/// Progress callback.
pub(crate) type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Loads a model.
///
/// ```no_run
/// use std::path::Path;
///
/// use sm_runtime::{DType, LoadOptions, Loader};
///
/// # fn main() -> Result<(), sm_runtime::Error> {
/// let planned = Loader::new(Path::new("model.gguf"))
///     .options(LoadOptions::new().quant(DType::Q8_0))
///     .progress(|progress| eprint!("\r{} of {} bytes", progress.done_bytes, progress.total_bytes))
///     .plan()?;
/// println!("this will take {} bytes", planned.memory_needs()?.total_bytes());
/// let model = planned.load()?;
/// for fallback in model.fallbacks() {
///     println!("{} is kept as {}", fallback.tensor, fallback.used);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a loader does nothing until `load` is called"]
pub struct Loader {
    model: ModelRef,
    options: LoadOptions,
    executor: ExecutorOptions,
    progress: Option<OnProgress>,
    cancel: CancelToken,
}

impl Loader {
    /// A loader with default options.
    pub fn new(model: impl Into<ModelRef>) -> Self {
        Self {
            model: model.into(),
            options: LoadOptions::default(),
            executor: ExecutorOptions::default(),
            progress: None,
            cancel: CancelToken::new(),
        }
    }

    /// Sets how the model is loaded.
    pub fn options(self, options: LoadOptions) -> Self {
        Self { options, ..self }
    }

    /// Sets the executor that must fit into memory next to the weights. One context by default.
    pub fn executor(self, executor: ExecutorOptions) -> Self {
        Self { executor, ..self }
    }

    /// Calls `progress` periodically while weights are packed, from several threads.
    pub fn progress(self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress(Some(Arc::new(progress)))
    }

    pub(crate) fn on_progress(self, progress: Option<OnProgress>) -> Self {
        Self { progress, ..self }
    }

    /// Sets a token that cancels loading, within a few matrix rows, with [`Error::Cancelled`].
    pub fn cancel(self, cancel: CancelToken) -> Self {
        Self { cancel, ..self }
    }

    /// Reads the model's configuration and checks that it fits into memory. Reads no weights.
    ///
    /// # Errors
    /// If an option is invalid, the model cannot be read or is not supported, the attached tokenizer does not fit it, or
    /// memory is insufficient ([`LoadError::InsufficientMemory`](crate::LoadError::InsufficientMemory)).
    #[cfg_attr(not(feature = "scripted"), expect(unused_mut, reason = "only scripts bring options along"))]
    pub fn plan(mut self) -> Result<PlannedLoad, Error> {
        self.options.validate()?;
        self.executor.validate()?;
        let mut chooses = self.options.device == Device::Auto;
        let mut backend = match &self.model {
            #[cfg(feature = "scripted")]
            ModelRef::Scripted(path) => {
                let script = crate::scripted::Script::read(path)?;
                self.options.chat_template.get_or_insert_with(|| script.template().to_owned());
                chooses = false;
                script.backend(self.tokenizer()?)
            }
            _ => backend::open(&self.options.device)?,
        };
        let model = self.model.open(&self.options.of_model())?;
        let limits = |backend: &dyn Backend| {
            executor_limits(backend, &model.plan, &self.executor, WeightState::NotLoaded)
        };
        if chooses {
            let needs = |gpu: &dyn Backend| Ok(gpu.memory_needs(&model.plan, &limits(gpu)?)?);
            backend = backend::automatic_gpu(needs).unwrap_or(backend);
        }
        let limits = limits(&*backend)?;
        // Read an attached tokenizer now, because it may not fit; the model's own is read in parallel with the weights.
        let attached = match self.options.tokenizer {
            TokenizerSource::Model => None,
            _ => self.options.tokenizer.of_model(&model)?,
        };
        Ok(PlannedLoad { loader: self, backend, model, limits, attached })
    }

    /// Loads the model.
    ///
    /// # Errors
    /// As [`Loader::plan`] and [`PlannedLoad::load`].
    pub fn load(self) -> Result<LoadedModel, Error> {
        self.plan()?.load()
    }

    /// The model's tokenizer alone. The model is not read if a tokenizer is attached, or can be found without: a vocabulary is
    /// enough.
    ///
    /// # Errors
    /// If the model or the tokenizer cannot be read, or the model has no tokenizer.
    pub fn tokenizer(&self) -> Result<Arc<dyn Tokenizer>, Error> {
        if let Some(attached) = self.options.tokenizer.attached()? {
            return Ok(attached);
        }
        if let ModelRef::Path(path) = &self.model
            && let Some(own) = without_model(path)?
        {
            return Ok(own);
        }
        let model = self.model.open(&sm_model::LoadOptions::default())?;
        self.options.tokenizer.of_model(&model)?.ok_or(Error::NoTokenizer)
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, options, executor, .. } = self;
        f.debug_struct("Loader")
            .field("model", model)
            .field("options", options)
            .field("executor", executor)
            .finish_non_exhaustive()
    }
}

/// A model checked to fit into memory, with its weights not yet read.
#[must_use = "nothing is loaded until `load` is called"]
pub struct PlannedLoad {
    loader: Loader,
    backend: Box<dyn Backend>,
    model: Model,
    limits: Limits,
    attached: Option<Arc<dyn Tokenizer>>,
}

impl PlannedLoad {
    /// Memory for the weights and an executor with the loader's [`ExecutorOptions`].
    ///
    /// # Errors
    /// If a size overflows.
    pub fn memory_needs(&self) -> Result<MemoryNeeds, Error> {
        Ok(self.backend.memory_needs(&self.model.plan, &self.limits)?)
    }

    /// The operations of a step.
    pub fn plan(&self) -> &Plan {
        &self.model.plan
    }

    /// Packs the weights for the device.
    ///
    /// # Errors
    /// If a file cannot be read, or memory cannot be allocated; [`Error::Cancelled`].
    pub fn load(self) -> Result<LoadedModel, Error> {
        let Self { loader: Loader { options, progress, cancel, .. }, backend, model, attached, .. } = self;
        let packed = match &options.packed_dir {
            Some(dir) => PackedFile::of(dir, &model, &options)?,
            None => None,
        };
        let source = LoadingWeights { weights: &model.weights, cancel: &cancel, packed };
        let report = |done: Progress| progress.iter().for_each(|progress| progress(done));
        // In parallel: a large vocabulary takes as long as the weights of a small model.
        let (weights, text) = std::thread::scope(|scope| {
            let read = || match &attached {
                Some(tokenizer) => Ok(Text::new(Some(Arc::clone(tokenizer)))),
                None => options.tokenizer.of_model(&model).map(Text::new),
            };
            let reading = Builder::new().spawn_scoped(scope, read);
            let weights = backend.load(&model.plan, &source, &report);
            let text = match reading {
                Ok(reading) => reading.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // No thread is to be had.
                Err(_) => read(),
            };
            (weights, text)
        });
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let weights = weights?;
        model.weights.check_unchanged()?;
        let text = text?;
        let chat = match &options.chat_template {
            Some(source) => given_template(source, &text),
            None => chat_template(&model, &text, options.tokenizer.directory()),
        };
        let fingerprint = options.fingerprint.then(|| {
            let n_threads = options.device.n_threads().unwrap_or_else(chunks::n_processors);
            weights_fingerprint(&model.plan, &*weights, n_threads)
        });
        Ok(LoadedModel {
            chat: chat.map(|template| with_defaults(template, &options)).map_err(Arc::new),
            guard: Arc::default(),
            text,
            grammars: Grammars::default(),
            vocab_size: model.plan.vocab_size(),
            context_len: model.plan.context_len,
            rope_extended_beyond: model.plan.rope_extended_beyond(),
            fallbacks: model.weights.fallbacks().into(),
            notes: model.weights.notes().into(),
            sampling_defaults: SamplingDefaults::of_model(&model)?,
            facts: Some(Arc::new(ModelFacts::of_model(&model))),
            fingerprint: fingerprint.transpose()?,
            executors: Arc::new(ExecutorSource::Backend { backend, plan: Box::new(model.plan), weights }),
        })
    }
}

impl fmt::Debug for PlannedLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedLoad")
            .field("loader", &self.loader)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
