//! A fake disk tier: saves what the cache evicts, from where the events say it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sm_cache::{CacheEvent, CacheObserver, KvCache, PageKey, Victim};
use sm_tensor::{PageId, StateSlot};

use crate::world::{Content, Memory, State};

/// A page that was evicted, or whose snapshot was, and that nobody has overwritten yet.
#[derive(Clone, Copy, Debug)]
struct Evicted {
    page: PageId,
    key: PageKey,
    snapshot: Option<StateSlot>,
}

#[derive(Clone, Debug, Default)]
struct Evictions(Arc<Mutex<Vec<Evicted>>>);

impl CacheObserver for Evictions {
    fn on_event(&mut self, event: &CacheEvent<'_>) {
        if let CacheEvent::Evicted { victim: Victim::Page(page) | Victim::Snapshot(page), .. } = event {
            let evicted = Evicted { page: page.page, key: page.key, snapshot: page.snapshot };
            self.0.lock().unwrap().push(evicted);
        }
    }
}

/// A page and, if it had a snapshot when it was saved, the state after it.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) page: Vec<Option<Content>>,
    pub(crate) state: Option<State>,
}

#[derive(Debug)]
pub(crate) struct Disk {
    evictions: Evictions,
    stored: HashMap<PageKey, Stored>,
}

impl Disk {
    pub(crate) fn watching(cache: &mut KvCache) -> Self {
        let evictions = Evictions::default();
        cache.watch(Box::new(evictions.clone()));
        Self { evictions, stored: HashMap::new() }
    }

    /// Saves what was evicted; to be called before memory is overwritten.
    pub(crate) fn spill(&mut self, memory: &Memory) {
        for Evicted { page, key, snapshot } in self.evictions.0.lock().unwrap().drain(..) {
            let state = snapshot.map(|slot| memory.state(slot).unwrap());
            let known = self.stored.get(&key).and_then(|stored| stored.state);
            self.stored.insert(key, Stored { page: memory.page(page).to_vec(), state: state.or(known) });
        }
    }

    pub(crate) fn get(&self, key: PageKey) -> Option<Stored> {
        self.stored.get(&key).cloned()
    }
}
