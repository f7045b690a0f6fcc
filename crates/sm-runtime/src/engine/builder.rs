//! How an engine is set up and started.

use std::sync::Arc;

use sm_batching::BatchingConfig;
use sm_kernels::plan::Progress;

use super::Engine;
use crate::speculate::DraftModel;
use crate::{EngineConfig, Error, KvDiskConfig, LoadedModel, MetricsSink, ModelRef, Preset};

/// Sets an engine up.
#[derive(Clone, Debug, Default)]
pub struct EngineBuilder<'d> {
    pub(super) config: EngineConfig,
    draft: Option<ModelRef<'d>>,
    pub(super) metrics: Option<Arc<dyn MetricsSink>>,
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
        let config = &self.config;
        config.batching.validate()?;
        let model = LoadedModel::load(model, &config.load_options(self.draft.is_some()), progress)?;
        let draft = self.draft.map(|draft| LoadedModel::load(draft, &config.draft_load_options(), progress));
        self.start(model, draft.transpose()?)
    }

    /// Starts on models that are loaded: with as many sequences at a time as the executor and the configuration allow.
    /// `draft`, a smaller model with the same vocabulary, guesses next tokens; steps can check as many guesses as the model
    /// was loaded with outputs ([`LoadOptions::max_outputs`](crate::LoadOptions::max_outputs)).
    ///
    /// # Errors
    /// If a value of the configuration cannot be used; [`Error::DraftVocabulary`].
    pub fn start(self, model: LoadedModel, draft: Option<LoadedModel>) -> Result<Engine, Error> {
        let draft = draft.map(|draft| DraftModel::new(draft, &model)).transpose()?;
        Engine::new(model, draft, self)
    }
}
