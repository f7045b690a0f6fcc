//! Unloads models: rejects new uses, lets current ones finish, then shuts down the engine.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{Registry, Stage, State};
use crate::engine::deadline;
use crate::{Engine, Error};

impl State {
    /// Takes the engine of a ready model for the caller to shut down; `None` if it is not ready.
    pub(super) fn begin_unload(&mut self, name: &str) -> Option<Engine> {
        let model = self.model(name)?;
        match std::mem::replace(&mut model.stage, Stage::Unloaded) {
            Stage::Ready(ready) => {
                model.stage = Stage::Unloading { load: ready.load, n_uses: ready.n_uses };
                Some(ready.engine)
            }
            other => {
                model.stage = other;
                None
            }
        }
    }

    /// Fails callers waiting for the next load of a model.
    fn fail_next(&mut self, name: &str, error: Error) {
        if let Some(next) = self.model(name).and_then(|model| model.next.take()) {
            // Cannot fail: a pending load has no thread that could set it.
            let _ = next.outcome.set(Err(Arc::new(error)));
        }
    }
}

impl Registry {
    /// Shuts down the engine from [`State::begin_unload`], then starts a pending load.
    pub(super) fn finish_unload(
        registry: &Arc<Self>,
        name: &Arc<str>,
        engine: Option<Engine>,
        grace: Duration,
    ) {
        let Some(engine) = engine else { return };
        // Fails only on an engine's own thread, which this is not.
        let _ = engine.shut_down(grace);
        drop(engine);
        let mut state = registry.lock();
        let is_known = !state.is_shut_down && state.aliases.contains_key(&**name);
        let Some(model) = state.model(name) else { return };
        (model.stage, model.bytes) = (Stage::Unloaded, 0);
        model.next.take_if(|next| next.n_uses == 0);
        if is_known {
            Self::start_load(registry, name, &mut state);
        } else {
            state.fail_next(name, Error::ShutDown);
        }
        registry.notify(state);
    }

    pub(in crate::models) fn unload(registry: &Arc<Self>, name: &str, grace: Duration) -> Result<(), Error> {
        let name = registry.lock().find(name)?;
        Self::drain(registry, &name, grace);
        Ok(())
    }

    pub(in crate::models) fn unload_idle(registry: &Arc<Self>, name: &str) -> Result<bool, Error> {
        let mut state = registry.lock();
        let name = state.find(name)?;
        let is_idle = state.model(&name).is_some_and(|model| model.is_idle());
        let engine = if is_idle { state.begin_unload(&name) } else { None };
        drop(state);
        let was_unloaded = engine.is_some();
        Self::finish_unload(registry, &name, engine, Duration::ZERO);
        Ok(was_unloaded)
    }

    pub(in crate::models) fn remove(registry: &Arc<Self>, name: &str, grace: Duration) -> Result<(), Error> {
        let mut state = registry.lock();
        let name = state.find(name)?;
        state.aliases.retain(|_, model| *model != name);
        drop(state);
        Self::drain(registry, &name, grace);
        registry.lock().models.remove(&name);
        Ok(())
    }

    /// Waits up to `grace` for a model's uses to end, then unloads it.
    fn drain(registry: &Arc<Self>, name: &Arc<str>, grace: Duration) {
        let until = deadline(grace);
        let mut state = registry.lock();
        let Some(load) = state.model(name).and_then(|model| model.current_load()) else { return };
        let engine = loop {
            let Some(model) = state.model(name) else { return };
            if model.current_load() != Some(load) {
                // Unloaded concurrently, or its load failed.
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            match &mut model.stage {
                Stage::Ready(ready) if ready.n_uses == 0 || left.is_zero() => {
                    break state.begin_unload(name);
                }
                Stage::Ready(ready) => {
                    ready.is_draining = true;
                    let waited = registry.changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                _ => state = registry.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        Self::finish_unload(registry, name, engine, until.saturating_duration_since(Instant::now()));
    }

    pub(in crate::models) fn shut_down(registry: &Arc<Self>, grace: Duration) {
        let until = deadline(grace);
        let mut state = registry.lock();
        state.is_shut_down = true;
        let names: Vec<Arc<str>> = state.models.keys().cloned().collect();
        let mut engines = Vec::new();
        for name in names {
            if let Some(Stage::Loading(load)) = state.model(&name).map(|model| &model.stage) {
                load.cancel.cancel();
            }
            state.fail_next(&name, Error::ShutDown);
            engines.extend(state.begin_unload(&name).map(|engine| (name, engine)));
        }
        registry.notify(state);
        engines.iter().for_each(|(_, engine)| drop(engine.drain(until)));
        for (name, engine) in engines {
            let left = until.saturating_duration_since(Instant::now());
            Self::finish_unload(registry, &name, Some(engine), left);
        }
        let mut state = registry.lock();
        while state.models.values().any(|model| model.current_load().is_some()) {
            state = registry.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
