//! Bookkeeping of the paged KV cache, in integers only: which page belongs to which sequence.
//!
//! The memory itself is the executor's. This crate will decide what is in it: the page allocator, the
//! prefix index that lets requests share pages, sessions that keep pages between requests, budgets and
//! eviction, statistics, and the estimator of memory. So far it holds the types that describe a cache.

/// Names a session whose pages outlive one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What one position of a sequence needs in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Transformer layers that keep keys and values.
    pub n_layers: usize,
    /// Key and value heads per layer.
    pub n_kv_heads: usize,
    /// Elements of one head's key, and of its value.
    pub head_dim: usize,
    /// Bytes of one element.
    pub element_bytes: usize,
}

impl KvShape {
    /// Bytes of the keys and values of one position in all layers; `None` if the number does not fit.
    ///
    /// ```
    /// use sm_cache::KvShape;
    ///
    /// let shape = KvShape { n_layers: 22, n_kv_heads: 4, head_dim: 64, element_bytes: 2 };
    /// assert_eq!(shape.position_bytes(), Some(2 * 22 * 4 * 64 * 2));
    /// ```
    pub fn position_bytes(&self) -> Option<usize> {
        [self.n_layers, self.n_kv_heads, self.head_dim, self.element_bytes]
            .into_iter()
            .try_fold(2usize, usize::checked_mul)
    }
}
