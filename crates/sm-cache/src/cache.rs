//! The cache: bookkeeping of a pool.
//!
//! [`KvCache`] is one struct, split into a file per task: `leasing` begins and ends leases and reserves pages, `commit`
//! records what a step computed, `states` and `snapshots` do both for recurrent states, `turn` runs session calls, `evict`
//! and `retire` reclaim memory, `check` verifies invariants.

use sm_tensor::{PageId, TokenId};

use crate::allocator::PageAllocator;
use crate::budget::Budget;
use crate::config::{KvCacheConfig, PagePool};
use crate::error::CacheError;
use crate::event::{CacheObserver, Observers};
use crate::lease::Leases;
use crate::namespace::Namespace;
use crate::page_key::PageKey;
use crate::prefix::{CachedPage, PrefixIndex};
use crate::session::SessionStore;
use crate::state_slots::StateSlots;
use crate::stats::KvCacheStats;

mod check;
mod commit;
mod evict;
mod leasing;
mod retire;
mod snapshots;
mod states;
mod turn;

pub use check::CacheFault;
pub use leasing::{Arrival, LeaseOwner, LeaseRequest};
pub use states::StatePlan;
pub use turn::{TurnEnd, TurnRequest};

/// Tracks the content and users of every page and state slot of an executor's pool.
///
/// Belongs to the thread that owns the executor. Stores integers only and is deterministic.
#[derive(Debug)]
pub struct KvCache {
    config: KvCacheConfig,
    budget: Budget,
    allocator: PageAllocator,
    states: StateSlots,
    index: PrefixIndex,
    sessions: SessionStore,
    leases: Leases,
    stats: KvCacheStats,
    observers: Observers,
    /// Counts operations: the clock for LRU.
    clock: u64,
    /// Scratch list of pages, reused to avoid allocation.
    scratch: Vec<PageId>,
}

impl KvCache {
    /// An empty cache for `pool`.
    ///
    /// # Errors
    /// If a number in `config` or `pool` is invalid.
    pub fn new(config: KvCacheConfig, pool: PagePool) -> Result<Self, CacheError> {
        let budget = Budget::new(&config, &pool)?;
        let mut index = PrefixIndex::new(pool.n_pages, pool.page_len, config.hash_key);
        if pool.n_state_slots > 0 {
            index = index.counting_children();
        }
        Ok(Self {
            allocator: PageAllocator::new(pool.n_pages as u32, budget.max_resident()),
            states: StateSlots::new(pool.n_state_slots as u32, pool.n_pages),
            sessions: SessionStore::new(),
            leases: Leases::default(),
            stats: KvCacheStats::default(),
            observers: Observers::default(),
            clock: 0,
            scratch: Vec::with_capacity(pool.n_pages),
            config,
            budget,
            index,
        })
    }

    /// Adds an observer.
    pub fn watch(&mut self, observer: Box<dyn CacheObserver>) {
        self.observers.push(observer);
    }

    /// The configuration.
    pub fn config(&self) -> &KvCacheConfig {
        &self.config
    }

    /// Positions per page.
    pub fn page_len(&self) -> usize {
        self.budget.page_len()
    }

    /// Pages for `n_tokens` positions.
    pub fn pages_for(&self, n_tokens: usize) -> usize {
        self.budget.pages_for(n_tokens)
    }

    /// Maximum pages of all leases together.
    pub fn max_pages(&self) -> usize {
        self.allocator.max_resident()
    }

    /// Whether the pool has recurrent states.
    pub fn is_stateful(&self) -> bool {
        !self.states.is_empty()
    }

    /// Checks that a single sequence running alone can have `n_pages` pages.
    ///
    /// # Errors
    /// [`CacheError::ResourceLimit`], in bytes.
    pub fn check_fits(&self, n_pages: usize) -> Result<(), CacheError> {
        self.budget.check_total(n_pages)
    }

    /// Pages available to leases: blank, cached, or referenced by idle sessions only.
    pub fn n_available(&self) -> usize {
        self.allocator.n_available()
    }

    /// State slots available to leases: free, snapshots, or referenced by idle sessions only.
    pub fn n_available_states(&self) -> usize {
        self.states.n_available()
    }

    /// Whether to admit a sequence that needs `n_pages` more pages: leases stay below the high watermark, or there are
    /// none; and if the pool has states, one is available.
    pub fn admits(&self, n_pages: usize) -> bool {
        let n_pinned = self.allocator.n_pinned();
        let watermark = self.max_pages() * usize::from(self.config.high_watermark_percent) / 100;
        let has_state = !self.is_stateful() || self.states.n_available() > 0;
        has_state && n_pages <= self.n_available() && (n_pinned == 0 || n_pinned + n_pages <= watermark)
    }

    /// Length of the cached prefix of `tokens` for a new lease. Does not count as a use.
    pub fn shared_len(&self, namespace: &Namespace, tokens: &[TokenId]) -> usize {
        let Some(namespace) = self.index.namespaces().find(namespace).filter(|_| self.config.shares()) else {
            return 0;
        };
        let pages = self.index.longest_prefix(namespace, tokens);
        let n_pages = if self.is_stateful() {
            let lens = pages.zip(1..).filter(|(page, _)| self.snapshot_of(*page).is_some());
            lens.last().map_or(0, |(_, n_pages)| n_pages)
        } else {
            pages.count()
        };
        n_pages * self.page_len()
    }

    /// The parent key of a sequence's first page.
    pub fn root_key(&self, namespace: &Namespace) -> PageKey {
        self.index.hasher().root(namespace)
    }

    /// The keys of the full pages of `tokens`, in order. Requests with equal keys share work.
    pub fn page_keys(&self, namespace: &Namespace, tokens: &[TokenId]) -> impl Iterator<Item = PageKey> {
        let hasher = self.index.hasher();
        let mut key = hasher.root(namespace);
        tokens.chunks_exact(self.page_len()).map(move |tokens| {
            key = hasher.child(key, tokens);
            key
        })
    }

    /// The cached pages, in eviction order.
    pub fn evictable(&self) -> impl Iterator<Item = CachedPage<'_>> {
        self.allocator.cached().filter_map(|page| self.cached_page(page))
    }

    /// The pages, in use or cached, that have a snapshot of the state after them.
    pub fn snapshots(&self) -> impl Iterator<Item = CachedPage<'_>> {
        self.states.pages_with_snapshot().filter_map(|page| self.cached_page(page))
    }

    fn cached_page(&self, page: PageId) -> Option<CachedPage<'_>> {
        let snapshot = if self.is_stateful() { self.snapshot_of(page) } else { None };
        self.index.get(page).map(|cached| CachedPage { snapshot, ..cached })
    }

    /// The statistics.
    pub fn stats(&self) -> KvCacheStats {
        KvCacheStats {
            current_sessions: self.sessions.len(),
            busy_sessions: self.sessions.len() - self.sessions.n_idle(),
            current_leases: self.leases.len(),
            n_pages: self.allocator.n_pages(),
            pinned_pages: self.allocator.n_pinned(),
            cached_pages: self.allocator.n_cached(),
            state_slots: self.states.len(),
            pinned_states: self.states.n_pinned(),
            snapshots: self.states.n_snapshots(),
            current_bytes: self.current_bytes(),
            max_bytes: self.budget.max_bytes(),
            ..self.stats
        }
    }

    fn current_bytes(&self) -> u64 {
        self.budget.bytes_of(self.allocator.n_resident()) + self.budget.bytes_of_states(self.states.n_used())
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}
