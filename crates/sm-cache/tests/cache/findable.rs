//! A router's view of the cache: what it knows from events alone.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use sm_cache::{CacheEvent, CacheObserver, KvCache, PageKey};

/// The keys of the contents that can be found, according to the events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findable(Arc<Mutex<HashSet<PageKey>>>);

impl CacheObserver for Findable {
    fn on_event(&mut self, event: &CacheEvent<'_>) {
        let mut keys = self.0.lock().unwrap();
        match event {
            CacheEvent::Stored(page) => assert!(keys.insert(page.key), "{} is stored twice", page.key),
            CacheEvent::Removed { key } => assert!(keys.remove(key), "{key} is removed, but was not stored"),
            _ => {}
        }
    }
}

impl Findable {
    pub(crate) fn watching(cache: &mut KvCache) -> Self {
        let findable = Self::default();
        cache.watch(Box::new(findable.clone()));
        findable
    }

    pub(crate) fn keys(&self) -> HashSet<PageKey> {
        self.0.lock().unwrap().clone()
    }
}
