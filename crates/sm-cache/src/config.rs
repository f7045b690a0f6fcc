//! Cache limits, and the shape of the managed memory.

use sm_tensor::{setters, some_setters};

/// Which idle session, cached page or snapshot is evicted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictionPolicy {
    /// The least recently used.
    #[default]
    Lru,
}

/// What the cache keeps, and its limits.
///
/// Limits are checked in field order. A request that exceeds a session limit fails; at a limit of the whole cache, idle
/// sessions and cached pages are evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvCacheConfig {
    /// Whether pages are shared and outlive the lease that computed them. Does not affect outputs.
    pub enabled: bool,
    /// Maximum positions per session; 0 for no limit.
    pub max_tokens_per_session: usize,
    /// Maximum bytes per session.
    pub max_bytes_per_session: Option<u64>,
    /// Maximum number of sessions; 0 for no limit.
    pub max_sessions: usize,
    /// Maximum bytes of all pages in use or cached, and all state slots.
    pub max_bytes_total: u64,
    /// What is evicted first.
    pub policy: EvictionPolicy,
    /// Whether pages and sessions outlive the request.
    pub persist_across_requests: bool,
    /// Whether requests with equal prefixes share full pages.
    pub prefix_sharing: bool,
    /// Percentage of pages that leases may use for [`KvCache::admits`](crate::KvCache::admits) to admit more. Below 100,
    /// running sequences have room to grow before one must be preempted.
    pub high_watermark_percent: u8,
    /// Percentage of pages in use or cached above which [`KvCache::collect`](crate::KvCache::collect) evicts when a request
    /// is admitted. At 100, the default, nothing is evicted before its memory is needed, which is no slower and keeps more.
    pub gc_threshold_percent: u8,
    /// Hash key for page keys. Fixed by default, so that page keys are stable across processes. Use a secret one if
    /// mutually distrusting tenants share page files.
    pub hash_key: [u8; 16],
}

impl Default for KvCacheConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_tokens_per_session: 4096,
            max_bytes_per_session: None,
            max_sessions: 1000,
            max_bytes_total: 1 << 30,
            policy: EvictionPolicy::Lru,
            persist_across_requests: true,
            prefix_sharing: true,
            high_watermark_percent: 100,
            gc_threshold_percent: 100,
            hash_key: *b"SmallMind pages\0",
        }
    }
}

impl KvCacheConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(
        enabled: bool,
        max_tokens_per_session: usize,
        max_sessions: usize,
        max_bytes_total: u64,
        policy: EvictionPolicy,
        persist_across_requests: bool,
        prefix_sharing: bool,
        high_watermark_percent: u8,
        gc_threshold_percent: u8,
        hash_key: [u8; 16],
    );
    some_setters!(max_bytes_per_session: u64);

    /// Whether pages are indexed.
    pub(crate) fn shares(&self) -> bool {
        self.enabled && self.prefix_sharing
    }

    /// Whether unreferenced pages stay cached.
    pub(crate) fn retains(&self) -> bool {
        self.enabled && self.persist_across_requests
    }
}

/// Shape of one position's keys and values, in a model with uniform layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Transformer layers with keys and values.
    pub n_layers: usize,
    /// Key and value heads per layer.
    pub n_kv_heads: usize,
    /// Bytes of one head's key, and of its value, including scales.
    pub head_bytes: usize,
}

impl KvShape {
    /// Bytes of one position's keys and values in all layers; `None` on overflow.
    ///
    /// ```
    /// use sm_cache::KvShape;
    ///
    /// let shape = KvShape { n_layers: 22, n_kv_heads: 4, head_bytes: 128 };
    /// assert_eq!(shape.position_bytes(), Some(2 * 22 * 4 * 128));
    /// ```
    pub fn position_bytes(&self) -> Option<usize> {
        [self.n_layers, self.n_kv_heads, self.head_bytes].into_iter().try_fold(2usize, usize::checked_mul)
    }
}

/// An executor's memory for sequences: KV pages and, for models with recurrent layers, state slots.
///
/// ```
/// use sm_cache::{KvShape, PagePool};
///
/// let shape = KvShape { n_layers: 6, n_kv_heads: 8, head_bytes: 128 };
/// let attention_only = PagePool::new(1000, 16, shape);
/// assert_eq!(attention_only.n_state_slots, 0);
/// let hybrid = attention_only.with_states(32, 64 * 1024);
/// assert_eq!(hybrid.total_bytes(), Some(1000 * 16 * 2 * 6 * 8 * 128 + 32 * 64 * 1024));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PagePool {
    /// Number of pages.
    pub n_pages: usize,
    /// Positions per page: the executor's page length.
    pub page_len: usize,
    /// Number of state slots; 0 if the model has no recurrent state.
    pub n_state_slots: usize,
    /// Bytes of one state slot.
    pub state_bytes: usize,
    /// `None` on overflow.
    page_bytes: Option<u64>,
}

impl PagePool {
    /// Pages only, for a model without recurrent state.
    pub fn new(n_pages: usize, page_len: usize, shape: KvShape) -> Self {
        let page_bytes = shape.position_bytes().and_then(|bytes| bytes.checked_mul(page_len));
        let page_bytes = page_bytes.and_then(|bytes| u64::try_from(bytes).ok());
        Self { n_pages, page_len, n_state_slots: 0, state_bytes: 0, page_bytes }
    }

    /// Pages of a given size, for a model with non-uniform layers. The size may be 0 if no layer has keys and values but
    /// the pool has states: pages then only identify prefixes.
    pub fn from_page_bytes(n_pages: usize, page_len: usize, page_bytes: u64) -> Self {
        Self { n_pages, page_len, n_state_slots: 0, state_bytes: 0, page_bytes: Some(page_bytes) }
    }

    /// The same pages with `n_slots` state slots of `state_bytes` each.
    ///
    /// Each running sequence needs one slot, so one is the minimum; each draft verified in a step needs one more. The rest
    /// holds snapshots: without them no prefix is shared, and a sequence that rolls back starts over. Two per running
    /// sequence are a good start.
    pub fn with_states(self, n_slots: usize, state_bytes: usize) -> Self {
        Self { n_state_slots: n_slots, state_bytes, ..self }
    }

    /// Bytes per page; `None` on overflow.
    pub fn page_bytes(&self) -> Option<u64> {
        self.page_bytes
    }

    /// Bytes of all state slots; `None` on overflow.
    pub fn states_bytes(&self) -> Option<u64> {
        (self.n_state_slots as u64).checked_mul(self.state_bytes as u64)
    }

    /// Bytes of all pages and state slots; `None` on overflow.
    pub fn total_bytes(&self) -> Option<u64> {
        (self.n_pages as u64).checked_mul(self.page_bytes?)?.checked_add(self.states_bytes()?)
    }
}
