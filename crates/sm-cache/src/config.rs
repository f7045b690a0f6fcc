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
    /// Bytes of all pages that hold something.
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

/// The pages that an executor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePool {
    /// Their number.
    pub n_pages: usize,
    /// Positions in each; the executor's page length.
    pub page_len: usize,
    /// What a position needs.
    pub shape: KvShape,
}

impl PagePool {
    /// Bytes of one page; `None` if the number does not fit.
    pub fn page_bytes(&self) -> Option<u64> {
        let bytes = self.shape.position_bytes()?.checked_mul(self.page_len)?;
        u64::try_from(bytes).ok()
    }
}
