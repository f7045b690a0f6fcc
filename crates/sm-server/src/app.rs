//! What all handlers share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sm_runtime::{Engine, GenerationOptions, ModelHandle, Models, SamplingOptions};
use tokio::sync::Semaphore;

use crate::call::Call;
use crate::error::ApiError;
use crate::expiry::Expiries;
use crate::keeper::Keeper;
use crate::keys::{Keys, Limits, Visitors};
use crate::load::Load;
use crate::metrics::Metrics;
use crate::response_cache::ResponseCache;
use crate::response_store::ResponseStore;
use crate::{ServerConfig, ServerError};

/// Models that are pulled at a time: each takes a thread for as long as the hub takes.
const MAX_PULLS: usize = 4;

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
    /// Permits to pull a model.
    pulling: Arc<Semaphore>,
    keys: Keys,
    visitors: Option<Visitors>,
    keeper: Keeper,
    load: Load,
    response_cache: ResponseCache,
    /// How the first load of the default model ended.
    first_load: OnceLock<Result<(), String>>,
    expiries: Expiries,
    responses: ResponseStore,
    props: Mutex<Option<Value>>,
}

impl App {
    /// # Errors
    /// [`ServerError::Keys`], [`ServerError::Redis`].
    pub(crate) fn new(models: Models, config: ServerConfig) -> Result<Self, ServerError> {
        let preparing = Arc::new(Semaphore::new(config.max_preparing.max(1)));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let limits = Limits::new(config.shared_limits.as_ref())?;
        Ok(Self(Arc::new(Inner {
            keys: Keys::new(config.keys.clone(), limits.clone())?,
            visitors: config.rate_limit.map(|limit| Visitors::new(limit, limits)),
            keeper: Keeper::new(models.clone(), &config),
            load: Load::default(),
            response_cache: ResponseCache::new(config.response_cache, config.response_cache_age),
            first_load: OnceLock::new(),
            expiries: Expiries::new(models.clone(), &config.pinned_models),
            responses: ResponseStore::default(),
            props: Mutex::default(),
            is_draining: AtomicBool::new(false),
            models,
            config,
            started,
            preparing,
            pulling: Arc::new(Semaphore::new(MAX_PULLS)),
        })))
    }

    pub(crate) fn models(&self) -> &Models {
        &self.0.models
    }

    pub(crate) fn config(&self) -> &ServerConfig {
        &self.0.config
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    pub(crate) fn visitors(&self) -> Option<&Visitors> {
        self.0.visitors.as_ref()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.config.metrics
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.0.keeper
    }

    pub(crate) fn response_cache(&self) -> &ResponseCache {
        &self.0.response_cache
    }

    pub(crate) fn load(&self) -> &Load {
        &self.0.load
    }

    /// How the first load of the default model ended; `None` before.
    pub(crate) fn first_load(&self) -> Option<&Result<(), String>> {
        self.0.first_load.get()
    }

    pub(crate) fn set_first_load(&self, outcome: Result<(), String>) {
        // There is only one first load.
        let _ = self.0.first_load.set(outcome);
    }

    /// Seconds since 1970 when it began.
    pub(crate) fn started(&self) -> u64 {
        self.0.started
    }

    pub(crate) fn preparing(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.preparing)
    }

    pub(crate) fn pulling(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.pulling)
    }

    /// When models are unloaded that clients wanted loaded for a time.
    pub(crate) fn expiries(&self) -> &Expiries {
        &self.0.expiries
    }

    /// The responses that later requests may go on from.
    pub(crate) fn responses(&self) -> &ResponseStore {
        &self.0.responses
    }

    /// What `/props` has last told of the default model, which may sleep now.
    pub(crate) fn props(&self) -> Option<Value> {
        self.0.props.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_props(&self, props: Value) {
        *self.0.props.lock().unwrap_or_else(PoisonError::into_inner) = Some(props);
    }

    /// The default model's name and engine, if it is loaded; this is no use of it.
    pub(crate) fn loaded_default(&self) -> Option<(String, Engine)> {
        let default = &self.config().default_model;
        let infos = self.models().list();
        let info = infos.iter().find(|info| info.name == *default || info.aliases.contains(default))?;
        self.models().loaded().into_iter().find(|(name, _)| *name == info.name)
    }

    /// From now on new requests are refused.
    pub(crate) fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
    }

    /// From now on new requests are taken again.
    pub(crate) fn resume(&self) {
        self.0.is_draining.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Relaxed)
    }

    /// The options of a request that sets none: those that the model's authors recommend, unless the server has its own, and as many
    /// tokens as the context leaves.
    pub(crate) fn defaults(&self, model: &Engine) -> GenerationOptions {
        let sampling = SamplingOptions::of_model(model.model().sampling_defaults());
        let mut options = GenerationOptions::new().max_new_tokens(usize::MAX).sampling(sampling);
        self.config().defaults.apply(&mut options);
        options
    }

    fn has_model(&self, name: &str) -> bool {
        let infos = self.models().list();
        infos.iter().any(|info| info.name == name || info.aliases.iter().any(|alias| alias == name))
    }

    /// A model by name, or the default model; loads it if necessary.
    ///
    /// # Errors
    /// If there is no such model, the caller's key does not allow it, it cannot be loaded, or the server is draining.
    pub(crate) async fn model(&self, name: Option<&str>) -> Result<ModelHandle, ApiError> {
        if self.is_draining() {
            return Err(ApiError::draining());
        }
        let name = name.filter(|name| !name.is_empty() && (!self.config().any_model || self.has_model(name)));
        let name = name.unwrap_or(&self.config().default_model);
        let call = Call::current();
        if let Some(key) = call.as_ref().and_then(|call| call.key()) {
            let infos = self.models().list();
            let is_named =
                |info: &&sm_runtime::ModelInfo| info.name == name || info.aliases.iter().any(|a| a == name);
            let info = infos.iter().find(is_named).ok_or_else(|| ApiError::unknown_model(name))?;
            let mut names = vec![info.name.as_str()];
            names.extend(info.aliases.iter().map(String::as_str));
            key.check_model(&names)?;
        }
        let model = self.keeper().acquire(name).await?.await?;
        if let Some(call) = call {
            call.set_model(model.name());
        }
        Ok(model)
    }
}
