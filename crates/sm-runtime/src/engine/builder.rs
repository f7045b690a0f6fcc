//! Configures and starts an engine.

use std::fmt;
use std::sync::Arc;

use sm_batching::BatchingConfig;
use sm_cache::CacheObserver;
use sm_kernels::plan::{ExecutorInfo, Progress};

use super::{Engine, Loading};
use crate::clock::Clock;
use crate::load::OnProgress;
use crate::speculate::DraftModel;
use crate::{
    CancelToken, EngineConfig, Error, ExecutorOptions, KvDiskConfig, LoadOptions, LoadedModel, Loader,
    MetricsSink, ModelRef, PlannedLoad, Preset,
};

/// Configures an engine.
///
/// ```
/// # #[cfg(all(feature = "cpu", feature = "demo-model"))] {
/// use sm_runtime::{Engine, ModelRef, Preset};
///
/// let engine = Engine::builder().preset(Preset::LatencyOptimized).draft(ModelRef::DemoDraft).load(ModelRef::Demo)?;
/// # drop(engine);
/// # }
/// # Ok::<(), sm_runtime::Error>(())
/// ```
#[derive(Default)]
#[must_use = "a builder does nothing until it loads or starts"]
pub struct EngineBuilder {
    pub(super) config: EngineConfig,
    draft: Option<ModelRef>,
    pub(super) metrics: Option<Arc<dyn MetricsSink>>,
    pub(super) observers: Vec<Box<dyn CacheObserver>>,
    progress: Option<OnProgress>,
    cancel: CancelToken,
    pub(super) clock: Clock,
}

impl EngineBuilder {
    /// Measures deadlines by this clock.
    #[cfg(test)]
    pub(crate) fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Starts from a preset.
    pub fn preset(self, preset: Preset) -> Self {
        Self { config: preset.config(), ..self }
    }

    /// Replaces the whole configuration.
    pub fn config(self, config: EngineConfig) -> Self {
        Self { config, ..self }
    }

    /// Sets how requests are batched.
    pub fn batching(self, batching: BatchingConfig) -> Self {
        Self { config: self.config.batching(batching), ..self }
    }

    /// Stores evicted pages on disk for this and later engines. Does not change outputs.
    pub fn kv_disk(self, kv_disk: KvDiskConfig) -> Self {
        Self { config: self.config.kv_disk(kv_disk), ..self }
    }

    /// Drafts tokens with a smaller model of the same vocabulary. Does not change outputs.
    pub fn draft(self, draft: impl Into<ModelRef>) -> Self {
        Self { draft: Some(draft.into()), ..self }
    }

    /// Sets the metrics sink. Without one, nothing is measured.
    pub fn metrics(self, sink: Arc<dyn MetricsSink>) -> Self {
        Self { metrics: Some(sink), ..self }
    }

    /// Adds an observer of KV cache evictions and of sessions that exceed their budget.
    pub fn cache_observer(mut self, observer: Box<dyn CacheObserver>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Calls `progress` periodically while weights are packed, from several threads.
    pub fn progress(self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { progress: Some(Arc::new(progress)), ..self }
    }

    /// Sets a token that cancels loading with [`Error::Cancelled`].
    pub fn cancel(self, cancel: CancelToken) -> Self {
        Self { cancel, ..self }
    }

    /// Loads a model and starts an engine on it. Blocks.
    ///
    /// # Errors
    /// As [`Loader::load`] and [`EngineBuilder::start`].
    pub fn load(self, model: impl Into<ModelRef>) -> Result<Engine, Error> {
        let planned = self.plan(model.into())?;
        self.load_planned(planned)
    }

    /// As [`EngineBuilder::load`], on a background thread. Returns a future.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn load_in_background(mut self, model: impl Into<ModelRef>) -> Result<Loading, Error> {
        let model = model.into();
        let cancel = self.cancel.child();
        self.cancel = cancel.clone();
        Loading::spawn(move || self.load(model), cancel)
    }

    /// Starts an engine on a loaded model, sharing the weights with its clones. `draft`, a smaller model of the same
    /// vocabulary, drafts tokens.
    ///
    /// # Errors
    /// If a configuration value is invalid or memory runs out;
    /// [`LoadError::DraftVocabulary`](crate::LoadError::DraftVocabulary).
    pub fn start(self, model: LoadedModel, draft: Option<LoadedModel>) -> Result<Engine, Error> {
        self.config.validate()?;
        let draft = draft.map(|draft| {
            let prepared = draft.prepare(&self.config.draft_executor_options())?;
            let ExecutorInfo { weight_bytes, kv_bytes, activation_bytes, .. } = *prepared.executor.info();
            let n_bytes = (weight_bytes + kv_bytes + activation_bytes) as u64;
            Ok::<_, Error>((n_bytes, DraftModel::new(&draft, prepared.executor, &model)?))
        });
        let (draft_bytes, draft) = draft.transpose()?.unzip();
        let prepared = model.prepare(&self.config.executor_options(draft_bytes))?;
        Engine::new(model, prepared, draft, self)
    }

    /// Plans the model and the draft model, if any: both must fit before either is loaded.
    ///
    /// # Errors
    /// As [`Loader::plan`].
    pub(crate) fn plan(&self, model: ModelRef) -> Result<PlannedModels, Error> {
        let config = &self.config;
        config.validate()?;
        let plan = |model, options: LoadOptions, executor: ExecutorOptions| {
            let loader = Loader::new(model).options(options).executor(executor);
            loader.on_progress(self.progress.clone()).cancel(self.cancel.clone()).plan()
        };
        let draft = self.draft.clone().map(|draft| {
            let planned = plan(draft, config.draft_load_options(), config.draft_executor_options())?;
            Ok::<_, Error>((planned.memory_needs()?.total_bytes() as u64, planned))
        });
        let (draft_bytes, draft) = draft.transpose()?.unzip();
        let model = plan(model, config.load_options(), config.executor_options(draft_bytes))?;
        Ok(PlannedModels { draft, model })
    }

    /// Loads the planned models and starts the engine.
    ///
    /// # Errors
    /// As [`EngineBuilder::load`].
    pub(crate) fn load_planned(self, planned: PlannedModels) -> Result<Engine, Error> {
        let model = planned.model.load()?;
        let draft = planned.draft.map(PlannedLoad::load).transpose()?;
        self.start(model, draft)
    }
}

/// An engine's model and draft model, checked to fit into memory.
pub(crate) struct PlannedModels {
    model: PlannedLoad,
    draft: Option<PlannedLoad>,
}

impl PlannedModels {
    /// Bytes of both models and their executors.
    ///
    /// # Errors
    /// If a size overflows.
    pub(crate) fn total_bytes(&self) -> Result<u64, Error> {
        let draft_bytes = match &self.draft {
            Some(draft) => draft.memory_needs()?.total_bytes(),
            None => 0,
        };
        Ok((self.model.memory_needs()?.total_bytes() as u64).saturating_add(draft_bytes as u64))
    }

    /// The same without the memory that [`ExecutorOptions::pool_bytes`] limits.
    ///
    /// # Errors
    /// If a size overflows.
    pub(crate) fn bytes_without_pool(&self) -> Result<u64, Error> {
        let needs = self.model.memory_needs()?;
        let pool_bytes = needs.kv_bytes.saturating_add(needs.activation_bytes) as u64;
        Ok(self.total_bytes()?.saturating_sub(pool_bytes))
    }
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, draft, .. } = self;
        f.debug_struct("EngineBuilder").field("config", config).field("draft", draft).finish_non_exhaustive()
    }
}
