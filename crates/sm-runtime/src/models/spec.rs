//! Specification of a model: source and engine configuration.

use std::fmt;
use std::sync::Arc;

use sm_kernels::plan::Progress;

use super::registry::{EngineSource, PlannedEngine};
use crate::engine::PlannedModels;
use crate::load::OnProgress;
use crate::{CacheObserver, CancelToken, Engine, EngineBuilder, EngineConfig, Error, MetricsSink, ModelRef};

/// Makes a cache observer for each engine that is started.
type MakeObserver = Arc<dyn Fn() -> Box<dyn CacheObserver> + Send + Sync>;

/// Source and engine configuration of a model in [`Models`](crate::Models).
#[derive(Clone)]
#[must_use = "a specification does nothing until it is added to `Models`"]
pub struct ModelSpec {
    model: ModelRef,
    draft: Option<ModelRef>,
    config: EngineConfig,
    metrics: Option<Arc<dyn MetricsSink>>,
    observers: Vec<MakeObserver>,
    progress: Option<OnProgress>,
    pub(super) aliases: Vec<String>,
}

impl ModelSpec {
    /// A model with the default configuration.
    pub fn new(model: impl Into<ModelRef>) -> Self {
        Self {
            model: model.into(),
            draft: None,
            config: EngineConfig::default(),
            metrics: None,
            observers: Vec::new(),
            progress: None,
            aliases: Vec::new(),
        }
    }

    /// Describes another model by the same settings, without the aliases of this one.
    pub fn of(self, model: impl Into<ModelRef>) -> Self {
        Self { model: model.into(), aliases: Vec::new(), ..self }
    }

    /// Sets the engine configuration.
    pub fn config(self, config: EngineConfig) -> Self {
        Self { config, ..self }
    }

    /// Drafts tokens with a smaller model of the same vocabulary. It is loaded with the model and counts as part of it.
    pub fn draft(self, draft: impl Into<ModelRef>) -> Self {
        Self { draft: Some(draft.into()), ..self }
    }

    /// Adds an alias.
    pub fn alias(mut self, alias: &str) -> Self {
        self.aliases.push(alias.to_owned());
        self
    }

    /// Sets the engine's metrics sink.
    pub fn metrics(self, sink: Arc<dyn MetricsSink>) -> Self {
        Self { metrics: Some(sink), ..self }
    }

    /// Adds a cache observer to each engine of the model: one is started whenever the model is loaded.
    pub fn cache_observer(
        mut self,
        make: impl Fn() -> Box<dyn CacheObserver> + Send + Sync + 'static,
    ) -> Self {
        self.observers.push(Arc::new(make));
        self
    }

    /// Calls `progress` periodically while the model is loaded, from several threads.
    pub fn progress(self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { progress: Some(Arc::new(progress)), ..self }
    }

    fn builder(&self, config: EngineConfig, cancel: &CancelToken) -> EngineBuilder {
        let mut builder = Engine::builder().config(config).cancel(cancel.clone());
        if let Some(draft) = &self.draft {
            builder = builder.draft(draft.clone());
        }
        if let Some(metrics) = &self.metrics {
            builder = builder.metrics(Arc::clone(metrics));
        }
        builder = self.observers.iter().fold(builder, |builder, make| builder.cache_observer(make()));
        if let Some(progress) = self.progress.clone() {
            builder = builder.progress(move |done| progress(done));
        }
        builder
    }
}

impl EngineSource for ModelSpec {
    /// If the KV pool makes the model exceed the budget, plans again with a pool shrunk to fit.
    fn plan(&self, budget_bytes: u64, cancel: &CancelToken) -> Result<Box<dyn PlannedEngine>, Error> {
        let builder = self.builder(self.config.clone(), cancel);
        let planned = builder.plan(self.model.clone())?;
        if planned.total_bytes()? <= budget_bytes {
            return Ok(Box::new(Planned { builder, planned }));
        }
        let mut config = self.config.clone();
        let left_bytes = budget_bytes.saturating_sub(planned.bytes_without_pool()?);
        let pool_bytes = config.executor.pool_bytes.unwrap_or(u64::MAX).min(left_bytes);
        config.executor.pool_bytes = Some(pool_bytes);
        let builder = self.builder(config, cancel);
        let planned = builder.plan(self.model.clone())?;
        Ok(Box::new(Planned { builder, planned }))
    }
}

impl fmt::Debug for ModelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, draft, config, aliases, .. } = self;
        f.debug_struct("ModelSpec")
            .field("model", model)
            .field("draft", draft)
            .field("config", config)
            .field("aliases", aliases)
            .finish_non_exhaustive()
    }
}

/// A planned engine.
struct Planned {
    builder: EngineBuilder,
    planned: PlannedModels,
}

impl PlannedEngine for Planned {
    fn total_bytes(&self) -> Result<u64, Error> {
        self.planned.total_bytes()
    }

    fn load(self: Box<Self>) -> Result<Engine, Error> {
        self.builder.load_planned(self.planned)
    }
}
