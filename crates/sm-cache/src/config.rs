//! What a cache may hold, and what describes the pages it manages.

/// Which idle session or unreferenced page gives way first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictionPolicy {
    /// The least recently used.
    #[default]
    Lru,
}

/// What the cache keeps, and how much of it.
///
/// Limits are checked in the order of the fields here; reaching one of a session fails the request, reaching one of the
/// whole cache makes idle sessions and unreferenced pages give way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvCacheConfig {
    /// Whether pages outlive the lease that computed them, or are shared at all. Off changes no output.
    pub enabled: bool,
    /// Positions that one session may hold; 0 for no limit.
    pub max_tokens_per_session: usize,
    /// Bytes that one session may hold.
    pub max_bytes_per_session: Option<u64>,
    /// Sessions that are remembered at a time; 0 for no limit.
    pub max_sessions: usize,
    /// Bytes of all pages that hold something, and of all state slots.
    pub max_bytes_total: u64,
    /// Who gives way first.
    pub policy: EvictionPolicy,
    /// Whether pages and sessions outlive the request; if not, both end with it.
    pub persist_across_requests: bool,
    /// Whether requests share the full pages of equal prefixes.
    pub prefix_sharing: bool,
    /// Share of the pages, in percent, that leases may hold when [`KvCache::admits`](crate::KvCache::admits) one more.
    pub high_watermark_percent: u8,
    /// Share of the pages, in percent, that may hold something when a request is admitted: above it, what nobody uses is given
    /// up first ([`KvCache::collect`](crate::KvCache::collect)). At 100, the default, a page is only given up when another
    /// needs it, which costs no more then and keeps more.
    pub gc_threshold_percent: u8,
    /// The key of the hash that names pages. Fixed, so that names are stable across processes; keep it secret where
    /// files of pages are shared by tenants who distrust each other.
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
    /// Whether pages are found by their content.
    pub(crate) fn shares(&self) -> bool {
        self.enabled && self.prefix_sharing
    }

    /// Whether pages that nobody holds stay cached.
    pub(crate) fn retains(&self) -> bool {
        self.enabled && self.persist_across_requests
    }
}

/// What one position of a sequence needs in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Transformer layers that keep keys and values.
    pub n_layers: usize,
    /// Key and value heads per layer.
    pub n_kv_heads: usize,
    /// Bytes of one head's key, and of its value: elements times the bytes of one, and scales if there are any.
    pub head_bytes: usize,
}

impl KvShape {
    /// Bytes of the keys and values of one position in all layers; `None` if the number does not fit.
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

/// The memory that an executor has for sequences: pages of keys and values and, for models whose layers keep a recurrent
/// state, state slots.
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
    /// Pages.
    pub n_pages: usize,
    /// Positions in each; the executor's page length.
    pub page_len: usize,
    /// What a position needs.
    pub shape: KvShape,
    /// State slots; 0 if the model keeps no state.
    pub n_state_slots: usize,
    /// Bytes of one state slot.
    pub state_bytes: usize,
}

impl PagePool {
    /// The pages of a model that keeps no state.
    pub const fn new(n_pages: usize, page_len: usize, shape: KvShape) -> Self {
        Self { n_pages, page_len, shape, n_state_slots: 0, state_bytes: 0 }
    }

    /// The same pages with `n_slots` state slots of `state_bytes` each.
    ///
    /// One slot is enough to run one sequence. Each further sequence that runs at the same time needs one, and so does each
    /// draft that is checked in a step; what is left holds snapshots, without which nothing is shared and whatever goes back
    /// starts over.
    pub const fn with_states(self, n_slots: usize, state_bytes: usize) -> Self {
        Self { n_state_slots: n_slots, state_bytes, ..self }
    }

    /// Bytes of one page; `None` if the number does not fit.
    pub fn page_bytes(&self) -> Option<u64> {
        let bytes = self.shape.position_bytes()?.checked_mul(self.page_len)?;
        u64::try_from(bytes).ok()
    }

    /// Bytes of all state slots; `None` if the number does not fit.
    pub fn states_bytes(&self) -> Option<u64> {
        (self.n_state_slots as u64).checked_mul(self.state_bytes as u64)
    }

    /// Bytes of all pages and state slots; `None` if the number does not fit.
    pub fn total_bytes(&self) -> Option<u64> {
        (self.n_pages as u64).checked_mul(self.page_bytes()?)?.checked_add(self.states_bytes()?)
    }
}
