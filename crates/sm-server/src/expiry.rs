//! Models that clients wanted loaded for a time, as Ollama's `keep_alive` says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sm_runtime::{ModelInfo, ModelState, Models};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::keeper::is_named;

/// How often a model that is to be unloaded is looked at until nobody uses it.
const POLL: Duration = Duration::from_millis(20);

/// When models are unloaded. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Expiries {
    models: Models,
    /// Names of models that stay loaded whatever clients say.
    pinned: Arc<[String]>,
    /// The latest wish for each model.
    wishes: Arc<Mutex<HashMap<String, Wish>>>,
}

#[derive(Debug)]
struct Wish {
    number: u64,
    expires: Instant,
    /// Waits until then. There is one for each model at most, however often clients ask.
    waiting: AbortHandle,
}

impl Expiries {
    pub(crate) fn new(models: Models, pinned: &[String]) -> Self {
        Self { models, pinned: pinned.into(), wishes: Arc::default() }
    }

    /// Whether a model stays loaded whatever clients say.
    pub(crate) fn is_pinned(&self, name: &str) -> bool {
        let models = self.models.list();
        let model = models.iter().find(|model| model.name == name);
        model.is_some_and(|model| self.pinned.iter().any(|pinned| is_named(model, pinned)))
    }

    /// Nothing panics while holding the lock.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Wish>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a model stays loaded at least, if a client said so.
    pub(crate) fn left(&self, name: &str) -> Option<Duration> {
        self.lock().get(name).map(|wish| wish.expires.saturating_duration_since(Instant::now()))
    }

    /// The model stays loaded, whatever was said before.
    pub(crate) fn keep(&self, name: &str) {
        if let Some(wish) = self.lock().remove(name) {
            wish.waiting.abort();
        }
    }

    /// Unloads a model after a time, once nobody uses it, unless it is pinned or another wish comes first.
    pub(crate) fn unload_after(&self, name: &str, after: Duration) {
        if self.is_pinned(name) {
            return;
        }
        // A time that no clock reaches.
        let Some(expires) = Instant::now().checked_add(after) else {
            return self.keep(name);
        };
        // A stream that is dropped when the server ends has no runtime any more.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut wishes = self.lock();
        let number = wishes.get(name).map_or(0, |wish| wish.number) + 1;
        let waiting = runtime.spawn(self.clone().unload_at(expires, name.to_owned(), number)).abort_handle();
        if let Some(earlier) = wishes.insert(name.to_owned(), Wish { number, expires, waiting }) {
            earlier.waiting.abort();
        }
    }

    async fn unload_at(self, expires: Instant, name: String, number: u64) {
        tokio::time::sleep_until(expires.into()).await;
        while self.is_latest(&name, number) {
            if self.unload(&name).await {
                self.lock().remove(&name);
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn is_latest(&self, name: &str, number: u64) -> bool {
        self.lock().get(name).is_some_and(|wish| wish.number == number)
    }

    /// Unloads a model, unless somebody uses it; whether it is unloaded.
    async fn unload(&self, name: &str) -> bool {
        let is_named = |model: &ModelInfo| model.name == name;
        let model = self.models.list().into_iter().find(is_named);
        if model.is_none_or(|model| model.state == ModelState::Unloaded) {
            return true;
        }
        let (models, name) = (self.models.clone(), name.to_owned());
        let unloading = tokio::task::spawn_blocking(move || match models.unload_idle(&name) {
            Ok(is_unloaded) => {
                if is_unloaded {
                    tracing::info!(model = name, "unloaded: a client said how long it wants it");
                }
                is_unloaded
            }
            // It is gone.
            Err(_) => true,
        });
        // It fails only if the engine's end panics, which is logged.
        unloading.await.unwrap_or(true)
    }
}
