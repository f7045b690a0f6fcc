//! How an engine is set up and started.

use std::sync::Arc;

use sm_batching::BatchingConfig;
use sm_cache::CacheObserver;
use sm_kernels::plan::Progress;

use super::{Engine, Loading};
use crate::source::OwnedModelRef;
use crate::speculate::DraftModel;
use crate::{CancelToken, EngineConfig, Error, KvDiskConfig, LoadedModel, MetricsSink, ModelRef, Preset};

/// Sets an engine up.
#[derive(Debug, Default)]
pub struct EngineBuilder<'d> {
    pub(super) config: EngineConfig,
    draft: Option<ModelRef<'d>>,
    pub(super) metrics: Option<Arc<dyn MetricsSink>>,
    pub(super) observers: Vec<Box<dyn CacheObserver>>,
    cancel: CancelToken,
}

impl<'d> EngineBuilder<'d> {
    /// Starts from a preset.
    #[must_use]
    pub fn preset(self, preset: Preset) -> Self {
        Self { config: preset.config(), ..self }
    }

    /// Sets everything.
    #[must_use]
    pub fn config(self, config: EngineConfig) -> Self {
        Self { config, ..self }
    }

    /// Sets how requests are batched.
    #[must_use]
    pub fn batching(self, batching: BatchingConfig) -> Self {
        Self { config: EngineConfig { batching, ..self.config }, ..self }
    }

    /// Keeps evicted pages in a file, for this engine and for later ones. What comes out stays the same.
    #[must_use]
    pub fn kv_disk(self, kv_disk: KvDiskConfig) -> Self {
        Self { config: EngineConfig { kv_disk: Some(kv_disk), ..self.config }, ..self }
    }

    /// Lets a smaller model with the same vocabulary guess next tokens. What comes out stays the same.
    #[must_use]
    pub fn draft(self, draft: impl Into<ModelRef<'d>>) -> Self {
        Self { draft: Some(draft.into()), ..self }
    }

    /// Tells a sink what is measured. Without one, nothing is.
    #[must_use]
    pub fn metrics(self, sink: Arc<dyn MetricsSink>) -> Self {
        Self { metrics: Some(sink), ..self }
    }

    /// Tells an observer, beside those before it, what the KV cache gives up and which session asks for too much.
    #[must_use]
    pub fn cache_observer(mut self, observer: Box<dyn CacheObserver>) -> Self {
        self.observers.push(observer);
        self
    }

    /// What ends the loading: it fails then with [`Error::Cancelled`].
    #[must_use]
    pub fn cancel(self, cancel: CancelToken) -> Self {
        Self { cancel, ..self }
    }

    /// Loads a model and starts.
    ///
    /// # Errors
    /// As [`LoadedModel::load`]; if a value of the configuration cannot be used, or the draft model has other tokens.
    pub fn load<'a>(self, model: impl Into<ModelRef<'a>>) -> Result<Engine, Error> {
        self.load_with(model, &|_| ())
    }

    /// As [`EngineBuilder::load`]; `progress` tells how far packing has come.
    ///
    /// # Errors
    /// As [`EngineBuilder::load`].
    pub fn load_with<'a>(
        self,
        model: impl Into<ModelRef<'a>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Engine, Error> {
        let (config, cancel, model) = (&self.config, &self.cancel, model.into());
        config.batching.validate()?;
        config.speculation.validate()?;
        let options = config.load_options(self.draft.is_some());
        let Some(draft) = self.draft else {
            let model = LoadedModel::load_until(model, &options, progress, cancel)?;
            return self.start(model, None);
        };
        // Both have to fit before one is loaded.
        let needs = LoadedModel::memory_needs(model, &options)?;
        let draft_options = config.draft_load_options(needs.total_bytes() as u64);
        LoadedModel::memory_needs(draft, &draft_options)?;
        let model = LoadedModel::load_until(model, &options, progress, cancel)?;
        let draft = LoadedModel::load_until(draft, &draft_options, progress, cancel)?;
        self.start(model, Some(draft))
    }

    /// As [`EngineBuilder::load_with`], on a thread of its own: a future, which blocks no executor.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn load_in_background(
        self,
        model: ModelRef<'_>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Loading, Error> {
        let (model, draft) = (OwnedModelRef::from(model), self.draft.map(OwnedModelRef::from));
        let cancel = self.cancel.child();
        let Self { config, metrics, observers, .. } = self;
        let load = {
            let cancel = cancel.clone();
            move || {
                let draft = draft.as_ref().map(OwnedModelRef::borrow);
                let builder = EngineBuilder { config, draft, metrics, observers, cancel };
                builder.load_with(model.borrow(), &progress)
            }
        };
        Loading::spawn(load, cancel)
    }

    /// Starts on models that are loaded: with as many sequences at a time as the executor and the configuration allow.
    /// `draft`, a smaller model with the same vocabulary, guesses next tokens; steps can check as many guesses as the model
    /// was loaded with outputs ([`LoadOptions::max_outputs`](crate::LoadOptions::max_outputs)).
    ///
    /// # Errors
    /// If a value of the configuration cannot be used; [`LoadError::DraftVocabulary`](crate::LoadError::DraftVocabulary).
    pub fn start(self, model: LoadedModel, draft: Option<LoadedModel>) -> Result<Engine, Error> {
        let draft = draft.map(|draft| DraftModel::new(draft, &model)).transpose()?;
        Engine::new(model, draft, self)
    }
}
