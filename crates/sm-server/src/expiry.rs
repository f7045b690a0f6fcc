//! Models that clients wanted loaded for a time, as Ollama's `keep_alive` says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sm_runtime::{ModelState, Models};

/// How often a model that is to be unloaded is looked at until nobody uses it.
const POLL: Duration = Duration::from_millis(20);

/// When models are unloaded. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Expiries {
    models: Models,
    /// The latest wish for each model.
    wishes: Arc<Mutex<HashMap<String, Wish>>>,
}

#[derive(Clone, Copy, Debug)]
struct Wish {
    number: u64,
    expires: Instant,
}

impl Expiries {
    pub(crate) fn new(models: Models) -> Self {
        Self { models, wishes: Arc::default() }
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
        self.lock().remove(name);
    }

    /// Unloads a model after a time, once nobody uses it, unless another wish comes first.
    pub(crate) fn unload_after(&self, name: &str, after: Duration) {
        // A time that no clock reaches.
        let Some(expires) = Instant::now().checked_add(after) else {
            return self.keep(name);
        };
        let number = {
            let mut wishes = self.lock();
            let number = wishes.get(name).map_or(0, |wish| wish.number) + 1;
            wishes.insert(name.to_owned(), Wish { number, expires });
            number
        };
        let (this, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep_until(expires.into()).await;
            while this.is_latest(&name, number) {
                if this.is_idle(&name) {
                    return this.unload(&name).await;
                }
                tokio::time::sleep(POLL).await;
            }
        });
    }

    fn is_latest(&self, name: &str, number: u64) -> bool {
        self.lock().get(name).is_some_and(|wish| wish.number == number)
    }

    fn is_idle(&self, name: &str) -> bool {
        let model = self.models.list().into_iter().find(|model| model.name == name);
        model.is_none_or(|model| model.n_uses == 0)
    }

    async fn unload(&self, name: &str) {
        self.keep(name);
        let state = self.models.list().into_iter().find(|model| model.name == name).map(|model| model.state);
        if state != Some(ModelState::Ready) {
            return;
        }
        let (models, name) = (self.models.clone(), name.to_owned());
        let unloaded = tokio::task::spawn_blocking(move || {
            // Whoever has come in the meantime may finish.
            models.unload(&name, Duration::from_secs(600)).map(|()| name)
        });
        match unloaded.await {
            Ok(Ok(name)) => tracing::info!(model = name, "model unloaded"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot unload a model"),
            Err(_) => {}
        }
    }
}
