//! Which models stay loaded: makes room for one that is asked for, and unloads those that nobody uses.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use sm_runtime::{AcquireModel, ModelInfo, ModelState, Models};

use crate::ServerConfig;
use crate::error::ApiError;

/// How often it is looked for models that nobody uses.
const TICK: Duration = Duration::from_millis(500);

/// Loads and unloads models within the server's limits.
#[derive(Debug)]
pub(crate) struct Keeper {
    models: Models,
    max_models: Option<usize>,
    idle_unload: Option<Duration>,
    pinned: Vec<String>,
    /// Whoever makes room keeps it until its own load has begun.
    turn: tokio::sync::Mutex<()>,
    /// When each model was last seen in use.
    last_use: Mutex<HashMap<String, Instant>>,
}

impl Keeper {
    pub(crate) fn new(models: Models, config: &ServerConfig) -> Self {
        Self {
            models,
            max_models: config.max_models,
            idle_unload: config.idle_unload,
            pinned: config.pinned_models.clone(),
            turn: tokio::sync::Mutex::default(),
            last_use: Mutex::default(),
        }
    }

    /// Begins a use of a model. If it has to be loaded and as many are loaded as may be, the one that was idle longest is
    /// unloaded first.
    ///
    /// # Errors
    /// If there is no such model, or all loaded ones are in use.
    pub(crate) async fn acquire(&self, name: &str) -> Result<AcquireModel, ApiError> {
        let Some(max_models) = self.max_models else { return Ok(self.models.acquire(name)?) };
        let _turn = self.turn.lock().await;
        loop {
            let infos = self.models.list();
            let info = infos.iter().find(|info| is_named(info, name));
            let info = info.ok_or_else(|| ApiError::unknown_model(name))?;
            let is_loaded = |info: &ModelInfo| matches!(info.state, ModelState::Loading | ModelState::Ready);
            let n_loaded = infos.iter().filter(|info| is_loaded(info)).count();
            if is_loaded(info) || n_loaded < max_models {
                self.note_use(&info.name);
                return Ok(self.models.acquire(name)?);
            }
            let Some(idle) = self.longest_idle(&infos) else {
                let message = format!(
                    "{n_loaded} models are loaded, as many as --max-models allows, and all are in use; retry later"
                );
                return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
            };
            self.unload(idle).await;
        }
    }

    /// Unloads what nobody has used for some time, until it is dropped.
    pub(crate) async fn run(&self) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            for idle in self.expired(Instant::now()) {
                self.unload(idle).await;
            }
        }
    }

    async fn unload(&self, name: String) {
        let models = self.models.clone();
        let unloading = tokio::task::spawn_blocking(move || {
            if models.unload_idle(&name).unwrap_or(false) {
                tracing::info!(model = name, "unloaded: nobody uses it");
            }
        });
        // It fails only if the engine's end panics, which is logged.
        let _ = unloading.await;
    }

    /// The models that have been idle for too long.
    fn expired(&self, now: Instant) -> Vec<String> {
        let infos = self.models.list();
        let mut last_use = self.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        for info in infos.iter().filter(|info| info.n_uses > 0 || info.state != ModelState::Ready) {
            last_use.insert(info.name.clone(), now);
        }
        let Some(limit) = self.idle_unload else { return Vec::new() };
        let idle = infos.into_iter().filter(|info| self.may_unload(info));
        let idle_for = |name: &str| {
            last_use.get(name).map_or(Duration::ZERO, |last| now.saturating_duration_since(*last))
        };
        idle.filter(|info| idle_for(&info.name) >= limit).map(|info| info.name).collect()
    }

    fn longest_idle(&self, infos: &[ModelInfo]) -> Option<String> {
        let last_use = self.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = infos.iter().filter(|info| self.may_unload(info));
        idle.min_by_key(|info| last_use.get(&info.name)).map(|info| info.name.clone())
    }

    fn may_unload(&self, info: &ModelInfo) -> bool {
        let is_pinned = self.pinned.iter().any(|name| is_named(info, name));
        info.state == ModelState::Ready && info.n_uses == 0 && !is_pinned
    }

    fn note_use(&self, name: &str) {
        let mut last_use = self.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        last_use.insert(name.to_owned(), Instant::now());
    }
}

/// Whether it is the name of a model, or another one that it has.
pub(crate) fn is_named(info: &ModelInfo, name: &str) -> bool {
    info.name == name || info.aliases.iter().any(|alias| alias == name)
}
