//! Loads models, first reserving memory, from idle models if necessary.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sm_cache::ByteSize;

use super::{EngineSource, Model, Ready, Registry, Stage, State};
use crate::{CancelToken, Engine, Error, LoadError, MemoryBound};

impl State {
    /// The least recently used idle model.
    fn least_recently_used(&self) -> Option<Arc<str>> {
        let idle = self.models.iter().filter(|(_, model)| model.is_idle());
        let last_use = |model: &Model| match &model.stage {
            Stage::Ready(ready) => ready.last_use,
            _ => u64::MAX,
        };
        idle.min_by_key(|(_, model)| last_use(model)).map(|(name, _)| Arc::clone(name))
    }

    /// Bytes reclaimable from idle models and those being unloaded.
    fn reclaimable_bytes(&self) -> u64 {
        let models = self.models.values().filter(|model| model.is_idle() || model.is_being_unloaded());
        models.map(|model| model.bytes).sum()
    }
}

impl Model {
    pub(super) fn is_idle(&self) -> bool {
        matches!(&self.stage, Stage::Ready(ready) if ready.n_uses == 0 && !ready.is_draining)
    }

    fn is_being_unloaded(&self) -> bool {
        match &self.stage {
            Stage::Ready(ready) => ready.is_draining,
            Stage::Unloading { .. } => true,
            Stage::Unloaded | Stage::Loading(_) => false,
        }
    }
}

impl Registry {
    /// Starts the pending load of an unloaded model.
    pub(super) fn start_load(registry: &Arc<Self>, name: &Arc<str>, state: &mut State) {
        let Some(model) = state.model(name) else { return };
        let Some(load) = model.next.take() else { return };
        let source = Arc::clone(&model.source);
        let cancel = load.cancel.clone();
        let outcome = Arc::clone(&load.outcome);
        model.stage = Stage::Loading(load);
        let registry = Arc::clone(registry);
        let name = Arc::clone(name);
        let run = move || {
            let load = || Self::load(&registry, &name, &*source, &cancel);
            let loaded = catch_unwind(AssertUnwindSafe(load));
            registry.finish_load(&name, loaded.unwrap_or_else(|_| Err(LoadError::Panicked.into())));
        };
        let spawned = std::thread::Builder::new().name("sm-load".to_owned()).spawn(run);
        if let Err(source) = spawned {
            model.stage = Stage::Unloaded;
            // Cannot fail: the thread that would set it does not exist.
            let _ = outcome.set(Err(Arc::new(LoadError::Thread { name: "sm-load", source }.into())));
        }
    }

    fn load(
        registry: &Arc<Self>,
        name: &str,
        source: &dyn EngineSource,
        cancel: &CancelToken,
    ) -> Result<Engine, Error> {
        let planned = source.plan(registry.memory_bytes, cancel)?;
        Self::reserve(registry, name, planned.total_bytes()?)?;
        planned.load()
    }

    /// Reserves memory for a model, unloading idle ones if necessary.
    ///
    /// # Errors
    /// If it exceeds the budget, or the free and idle part of it.
    fn reserve(registry: &Arc<Self>, name: &str, bytes: u64) -> Result<(), Error> {
        let limit = registry.memory_bytes;
        if bytes > limit {
            return Err(LoadError::InsufficientMemory {
                what: format!("all parts of model {name:?}"),
                needed: ByteSize(bytes),
                limit: ByteSize(limit),
                bound: MemoryBound::Configured,
            }
            .into());
        }
        let mut state = registry.lock();
        loop {
            if state.is_shut_down {
                return Err(Error::ShutDown);
            }
            let free = limit.saturating_sub(state.used_bytes());
            if bytes <= free {
                state.model(name).ok_or(Error::ShutDown)?.bytes = bytes;
                return Ok(());
            }
            // Do not unload anything if it would not help.
            if bytes > free.saturating_add(state.reclaimable_bytes()) {
                return Err(Error::ModelsInUse {
                    needed: ByteSize(bytes),
                    free: ByteSize(free),
                    limit: ByteSize(limit),
                });
            }
            state = match state.least_recently_used() {
                Some(idle) => {
                    let engine = state.begin_unload(&idle);
                    drop(state);
                    Self::finish_unload(registry, &idle, engine, Duration::ZERO);
                    registry.lock()
                }
                None => registry.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn finish_load(&self, name: &str, loaded: Result<Engine, Error>) {
        let mut state = self.lock();
        let is_shut_down = state.is_shut_down;
        let last_use = state.clock;
        let Some(model) = state.model(name) else { return };
        let Stage::Loading(load) = std::mem::replace(&mut model.stage, Stage::Unloaded) else { return };
        let mut unused = None;
        let outcome = match loaded {
            Ok(engine) if !is_shut_down => {
                model.stage = Stage::Ready(Ready {
                    engine: engine.clone(),
                    load: load.number,
                    n_uses: load.n_uses,
                    last_use,
                    is_draining: false,
                });
                Ok(engine)
            }
            Ok(engine) => {
                model.bytes = 0;
                unused = Some(engine);
                Err(Arc::new(Error::ShutDown))
            }
            Err(error) => {
                model.bytes = 0;
                Err(Arc::new(if is_shut_down { Error::ShutDown } else { error }))
            }
        };
        // Cannot fail: only the load's own thread sets its outcome.
        let _ = load.outcome.set(outcome);
        self.notify(state);
        // Dropping an engine joins its thread, so it must not happen under the lock.
        drop(unused);
    }
}
