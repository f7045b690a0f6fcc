//! The cache as a scheduler sees it.

use sm_tensor::{PageId, TokenId};

use crate::allocator::PageAllocator;
use crate::budget::Budget;
use crate::config::{KvCacheConfig, PagePool};
use crate::error::CacheError;
use crate::event::{CacheObserver, Observers};
use crate::namespace::Namespace;
use crate::prefix::{CachedPage, PageKey, PrefixIndex};
use crate::session::SessionStore;
use crate::state_slots::StateSlots;
use crate::stats::KvCacheStats;
use lease::Leases;

mod evict;
mod lease;
mod states;
mod turn;

pub use lease::{Arrival, KvHandle, LeaseOwner, LeaseRequest};
pub use states::{KeptState, StatePlan};
pub use turn::{Turn, TurnEnd, TurnRequest};

/// Knows what is in every page of an executor's pool, and for whom.
///
/// One thread owns it and the executor; it holds integers only, and what it does depends on its calls alone.
#[derive(Debug)]
pub struct KvCache {
    pub(crate) config: KvCacheConfig,
    pub(crate) budget: Budget,
    pub(crate) allocator: PageAllocator,
    pub(crate) states: StateSlots,
    pub(crate) index: PrefixIndex,
    pub(crate) sessions: SessionStore,
    pub(crate) leases: Leases,
    stats: KvCacheStats,
    observers: Observers,
    /// Counts operations: the time of "least recently used".
    clock: u64,
    /// The pages of the last search, kept to allocate nothing.
    found: Vec<PageId>,
}

impl KvCache {
    /// An empty cache of the pages of `pool`.
    ///
    /// # Errors
    /// If a number in `config` or `pool` cannot be used.
    pub fn new(config: KvCacheConfig, pool: PagePool) -> Result<Self, CacheError> {
        let budget = Budget::new(&config, &pool)?;
        let mut index = PrefixIndex::new(pool.n_pages, pool.page_len, config.hash_key);
        if pool.n_state_slots > 0 {
            index = index.counting_children();
        }
        Ok(Self {
            states: StateSlots::new(pool.n_state_slots as u32, pool.n_pages),
            allocator: PageAllocator::new(pool.n_pages as u32, budget.max_resident()),
            found: Vec::with_capacity(pool.n_pages),
            sessions: SessionStore::new(),
            leases: Leases::default(),
            stats: KvCacheStats::default(),
            observers: Observers::default(),
            clock: 0,
            config,
            budget,
            index,
        })
    }

    /// Tells `observer`, beside those before it, what happens from now on.
    pub fn watch(&mut self, observer: Box<dyn CacheObserver>) {
        self.observers.push(observer);
    }

    /// What the cache was made with.
    pub fn config(&self) -> &KvCacheConfig {
        &self.config
    }

    /// Positions in a page.
    pub fn page_len(&self) -> usize {
        self.budget.page_len()
    }

    /// Pages that `n_tokens` positions need.
    pub fn pages_for(&self, n_tokens: usize) -> usize {
        self.budget.pages_for(n_tokens)
    }

    /// The most pages that leases can hold together.
    pub fn max_pages(&self) -> usize {
        self.allocator.max_resident()
    }

    /// Whether one sequence may have `n_pages` pages if it is alone.
    ///
    /// # Errors
    /// [`CacheError::ResourceLimit`], in bytes.
    pub fn check_fits(&self, n_pages: usize) -> Result<(), CacheError> {
        self.budget.check_total(n_pages)
    }

    /// Pages that leases can still take: all that are blank, cached, or held by sessions without a lease.
    pub fn n_available(&self) -> usize {
        self.allocator.n_available()
    }

    /// Whether a sequence that will take `n_pages` more pages may begin: leases stay below the high watermark, or there is
    /// no other. If the pool has states, one must be left for the sequence to write to.
    pub fn admits(&self, n_pages: usize) -> bool {
        let n_pinned = self.allocator.n_pinned();
        let mark = self.max_pages() * usize::from(self.config.high_watermark_percent) / 100;
        let has_state = self.states.is_empty() || self.states.n_available() > 0;
        n_pages <= self.n_available() && has_state && (n_pinned == 0 || n_pinned + n_pages <= mark)
    }

    /// Positions of `tokens` that a lease would find computed, and their state known if the pool has states. Touches
    /// nothing.
    pub fn shared_len(&self, namespace: &Namespace, tokens: &[TokenId]) -> usize {
        let Some(namespace) = self.index.namespaces().find(namespace).filter(|_| self.config.shares()) else {
            return 0;
        };
        let mut pages = self.index.longest_prefix(namespace, tokens);
        let n_pages = match self.states.is_empty() {
            true => pages.count(),
            false => {
                let numbered = pages.by_ref().zip(1..);
                numbered.filter(|(page, _)| self.snapshot_of(*page).is_some()).last().map_or(0, |(_, n)| n)
            }
        };
        n_pages * self.page_len()
    }

    /// The key that stands before the first page of every sequence.
    pub fn root_key(&self, namespace: &Namespace) -> PageKey {
        self.index.hasher().root(namespace)
    }

    /// The keys of the full pages of `tokens`, in order: equal keys tell that two requests share work.
    pub fn page_keys(&self, namespace: &Namespace, tokens: &[TokenId]) -> impl Iterator<Item = PageKey> {
        let hasher = self.index.hasher();
        let mut key = hasher.root(namespace);
        tokens.chunks_exact(self.page_len()).map(move |tokens| {
            key = hasher.child(key, tokens);
            key
        })
    }

    /// The pages that nobody holds but whose content can be found: the next to be overwritten first.
    pub fn evictable(&self) -> impl Iterator<Item = CachedPage<'_>> {
        self.allocator.cached().filter_map(|page| self.cached_page(page))
    }

    /// An indexed page as others see it.
    fn cached_page(&self, page: PageId) -> Option<CachedPage<'_>> {
        let snapshot = if self.states.is_empty() { None } else { self.snapshot_of(page) };
        self.index.get(page).map(|content| CachedPage { snapshot, ..content })
    }

    /// What has happened so far, and what is held now.
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
