//! What all handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sm_runtime::{GenerationOptions, ModelHandle, Models, SamplingOptions};
use tokio::sync::Semaphore;

use crate::ServerConfig;
use crate::error::ApiError;
use crate::expiry::Expiries;
use crate::response_store::ResponseStore;

/// The state of a server. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    models: Models,
    config: ServerConfig,
    is_draining: AtomicBool,
    /// Seconds since 1970 when it began.
    started: u64,
    /// Permits to prepare a prompt.
    preparing: Arc<Semaphore>,
    expiries: Expiries,
    responses: ResponseStore,
}

impl App {
    pub(crate) fn new(models: Models, config: ServerConfig) -> Self {
        let preparing = Arc::new(Semaphore::new(config.max_preparing.max(1)));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let expiries = Expiries::new(models.clone());
        let is_draining = AtomicBool::new(false);
        Self(Arc::new(Inner {
            models,
            config,
            is_draining,
            started,
            preparing,
            expiries,
            responses: ResponseStore::default(),
        }))
    }

    pub(crate) fn models(&self) -> &Models {
        &self.0.models
    }

    pub(crate) fn config(&self) -> &ServerConfig {
        &self.0.config
    }

    /// Seconds since 1970 when it began.
    pub(crate) fn started(&self) -> u64 {
        self.0.started
    }

    pub(crate) fn preparing(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.preparing)
    }

    /// When models are unloaded that clients wanted loaded for a time.
    pub(crate) fn expiries(&self) -> &Expiries {
        &self.0.expiries
    }

    /// The responses that later requests may go on from.
    pub(crate) fn responses(&self) -> &ResponseStore {
        &self.0.responses
    }

    /// From now on new requests are refused.
    pub(crate) fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }

    /// The options of a request that sets none: those that the model's authors recommend, unless the server has its own, and as many
    /// tokens as the context leaves.
    pub(crate) fn defaults(&self, model: &ModelHandle) -> GenerationOptions {
        let sampling = SamplingOptions::of_model(model.model().sampling_defaults());
        let mut options = GenerationOptions::new().max_new_tokens(usize::MAX).sampling(sampling);
        self.config().defaults.apply(&mut options);
        options
    }

    /// A model by name, or the default model; loads it if necessary.
    ///
    /// # Errors
    /// If there is no such model, it cannot be loaded, or the server is draining.
    pub(crate) async fn model(&self, name: Option<&str>) -> Result<ModelHandle, ApiError> {
        if self.is_draining() {
            return Err(ApiError::draining());
        }
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&self.config().default_model);
        Ok(self.models().acquire(name)?.await?)
    }
}
