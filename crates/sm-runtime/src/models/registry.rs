//! The states of all models and their transitions.
//!
//! One lock guards the states and is never held during slow work. A load or unload runs on the thread that moved the model
//! to `Loading` or `Unloading`; no other thread touches the model until that thread moves it on.

mod loading;
mod unloading;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use crate::{CancelToken, Engine, Error};

/// Creates a model's engine.
pub(super) trait EngineSource: fmt::Debug + Send + Sync {
    /// Plans the model, within `budget_bytes` if possible.
    ///
    /// # Errors
    /// If the model does not exist or does not fit.
    fn plan(&self, budget_bytes: u64, cancel: &CancelToken) -> Result<Box<dyn PlannedEngine>, Error>;
}

/// An engine ready to be loaded.
pub(super) trait PlannedEngine {
    /// Bytes it needs.
    ///
    /// # Errors
    /// If a size overflows.
    fn total_bytes(&self) -> Result<u64, Error>;

    /// Loads the model and starts the engine.
    ///
    /// # Errors
    /// If loading fails.
    fn load(self: Box<Self>) -> Result<Engine, Error>;
}

/// The outcome of a load, shared by all waiting callers.
pub(super) type Outcome = Arc<OnceLock<Result<Engine, Arc<Error>>>>;

/// One use of a model, starting when it is acquired. Prevents eviction.
#[derive(Debug)]
pub(super) struct ModelUse {
    registry: Arc<Registry>,
    /// The model's own name.
    pub(super) name: Arc<str>,
    /// Identifies the load. A model that was unloaded and reloaded has a new one.
    load: u64,
}

impl Drop for ModelUse {
    fn drop(&mut self) {
        self.registry.release(&self.name, self.load);
    }
}

impl ModelUse {
    /// Blocks until a state change makes `is_done` true.
    pub(super) fn wait_until(&self, is_done: impl Fn() -> bool) {
        let registry = &self.registry;
        let mut state = registry.lock();
        while !is_done() {
            state = registry.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns `is_done()`; if false, the next state change wakes `waker`.
    pub(super) fn wake_unless(&self, is_done: impl Fn() -> bool, waker: &Waker) -> bool {
        let mut state = self.registry.lock();
        let is_done = is_done();
        if !is_done && !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        is_done
    }
}

/// A snapshot of one model in [`Models`](crate::Models).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The name.
    pub name: String,
    /// Other names.
    pub aliases: Vec<String>,
    /// Its state.
    pub state: ModelState,
    /// Handles, requests and pending acquisitions that keep it loaded.
    pub n_uses: usize,
    /// Bytes of the budget in use.
    pub memory_bytes: u64,
}

/// State of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelState {
    /// Not loaded.
    Unloaded,
    /// Loading.
    Loading,
    /// Loaded.
    Ready,
    /// Unloading; handles stay usable until it is unloaded.
    Unloading,
}

/// All models.
pub(super) struct Registry {
    memory_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    models: BTreeMap<Arc<str>, Model>,
    /// All names and aliases.
    aliases: BTreeMap<String, Arc<str>>,
    /// Counts releases, to order models by last use.
    clock: u64,
    is_shut_down: bool,
    wakers: Vec<Waker>,
}

struct Model {
    source: Arc<dyn EngineSource>,
    /// Bytes reserved in the budget.
    bytes: u64,
    stage: Stage,
    n_loads: u64,
    /// The load to start after unloading, if a caller is waiting for it.
    next: Option<Load>,
}

enum Stage {
    Unloaded,
    Loading(Load),
    Ready(Ready),
    /// Remaining uses of the engine being shut down.
    Unloading {
        load: u64,
        n_uses: usize,
    },
}

/// A running or pending load.
struct Load {
    number: u64,
    n_uses: usize,
    outcome: Outcome,
    cancel: CancelToken,
}

struct Ready {
    engine: Engine,
    load: u64,
    n_uses: usize,
    last_use: u64,
    /// No longer handed out.
    is_draining: bool,
}

impl Model {
    /// Begins a use of the current or next load. Returns whether that load has to be started.
    fn begin_use(&mut self) -> (u64, Outcome, bool) {
        if let Stage::Ready(ready) = &mut self.stage
            && !ready.is_draining
        {
            ready.n_uses += 1;
            return (ready.load, Arc::new(Ok(ready.engine.clone()).into()), false);
        }
        let is_unloaded = matches!(self.stage, Stage::Unloaded);
        let load = match &mut self.stage {
            Stage::Loading(load) => load,
            _ => self.next.get_or_insert_with(|| {
                self.n_loads += 1;
                Load {
                    number: self.n_loads,
                    n_uses: 0,
                    outcome: Outcome::default(),
                    cancel: CancelToken::new(),
                }
            }),
        };
        load.n_uses += 1;
        (load.number, Arc::clone(&load.outcome), is_unloaded)
    }

    /// The load in progress, or the one that loaded the model.
    fn current_load(&self) -> Option<u64> {
        match &self.stage {
            Stage::Unloaded => None,
            Stage::Loading(load) => Some(load.number),
            Stage::Ready(ready) => Some(ready.load),
            Stage::Unloading { load, .. } => Some(*load),
        }
    }

    /// The use count of a load, while nonzero.
    fn uses_of(&mut self, number: u64) -> Option<&mut usize> {
        if let Some(load) = self.next.as_mut().filter(|load| load.number == number) {
            return Some(&mut load.n_uses);
        }
        match &mut self.stage {
            Stage::Loading(load) if load.number == number => Some(&mut load.n_uses),
            Stage::Ready(ready) if ready.load == number => Some(&mut ready.n_uses),
            Stage::Unloading { load, n_uses } if *load == number => Some(n_uses),
            _ => None,
        }
    }

    fn info(&self, name: &Arc<str>, aliases: &BTreeMap<String, Arc<str>>) -> ModelInfo {
        let (state, n_uses) = match &self.stage {
            Stage::Unloaded => (ModelState::Unloaded, 0),
            Stage::Loading(load) => (ModelState::Loading, load.n_uses),
            Stage::Ready(ready) if ready.is_draining => (ModelState::Unloading, ready.n_uses),
            Stage::Ready(ready) => (ModelState::Ready, ready.n_uses),
            Stage::Unloading { n_uses, .. } => (ModelState::Unloading, *n_uses),
        };
        let own = |(alias, model): (&String, &Arc<str>)| {
            (model == name && **alias != **name).then(|| alias.clone())
        };
        ModelInfo {
            name: name.to_string(),
            aliases: aliases.iter().filter_map(own).collect(),
            state,
            n_uses: n_uses + self.next.as_ref().map_or(0, |load| load.n_uses),
            memory_bytes: self.bytes,
        }
    }
}

impl State {
    /// Resolves a name or alias.
    fn find(&self, name: &str) -> Result<Arc<str>, Error> {
        if self.is_shut_down {
            return Err(Error::ShutDown);
        }
        self.aliases.get(name).cloned().ok_or_else(|| Error::UnknownModel {
            name: name.to_owned(),
            known: self.models.keys().map(|name| &**name).collect::<Vec<_>>().join(", "),
        })
    }

    fn used_bytes(&self) -> u64 {
        self.models.values().map(|model| model.bytes).sum()
    }

    fn model(&mut self, name: &str) -> Option<&mut Model> {
        self.models.get_mut(name)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("models", &self.list()).finish_non_exhaustive()
    }
}

impl Registry {
    pub(super) fn new(memory_bytes: u64) -> Self {
        Self { memory_bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Nothing panics while holding the lock, so a poisoned one is still consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all waiters after a state change.
    fn notify(&self, mut state: MutexGuard<'_, State>) {
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn add(
        &self,
        name: &str,
        aliases: Vec<String>,
        source: Arc<dyn EngineSource>,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        let mut names = aliases;
        names.push(name.to_owned());
        names.sort_unstable();
        let taken = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| &pair[0]);
        if let Some(name) = taken.or_else(|| names.iter().find(|name| state.aliases.contains_key(*name))) {
            return Err(Error::validation(
                "name",
                format!("{name:?} is already taken; choose another name or alias"),
            ));
        }
        if names.iter().any(|name| name.trim().is_empty()) {
            return Err(Error::validation("name", "must not be blank"));
        }
        let own: Arc<str> = name.into();
        state.aliases.extend(names.into_iter().map(|alias| (alias, Arc::clone(&own))));
        let model = Model { source, bytes: 0, stage: Stage::Unloaded, n_loads: 0, next: None };
        state.models.insert(own, model);
        Ok(())
    }

    pub(super) fn list(&self) -> Vec<ModelInfo> {
        let state = self.lock();
        state.models.iter().map(|(name, model)| model.info(name, &state.aliases)).collect()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    pub(super) fn engines(&self) -> Vec<(String, Engine)> {
        let ready = |(name, model): (&Arc<str>, &Model)| match &model.stage {
            Stage::Ready(ready) => Some((name.to_string(), ready.engine.clone())),
            _ => None,
        };
        self.lock().models.iter().filter_map(ready).collect()
    }

    /// Begins a use of a model, and returns it with the outcome of its load. Starts the load if necessary.
    ///
    /// # Errors
    /// [`Error::UnknownModel`], [`Error::ShutDown`].
    pub(super) fn acquire(registry: &Arc<Self>, name: &str) -> Result<(ModelUse, Outcome), Error> {
        let mut state = registry.lock();
        let name = state.find(name)?;
        let model = state.models.get_mut(&name).ok_or(Error::ShutDown)?;
        let (load, outcome, is_to_load) = model.begin_use();
        if is_to_load {
            Self::start_load(registry, &name, &mut state);
        }
        drop(state);
        Ok((ModelUse { registry: Arc::clone(registry), name, load }, outcome))
    }

    /// Ends one use of a load.
    pub(super) fn release(&self, name: &str, load: u64) {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        let Some(model) = state.models.get_mut(name) else { return };
        if let Some(n_uses) = model.uses_of(load) {
            *n_uses -= 1;
        }
        if let Stage::Ready(ready) = &mut model.stage {
            ready.last_use = clock;
        }
        self.notify(state);
    }
}
