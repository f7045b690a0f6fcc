//! Cache statistics.

/// Current contents of a cache, and counters since its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvCacheStats {
    /// Sessions.
    pub current_sessions: usize,
    /// Sessions in use by a call.
    pub busy_sessions: usize,
    /// Leases.
    pub current_leases: usize,
    /// Pages in the pool.
    pub n_pages: usize,
    /// Pages in use by leases.
    pub pinned_pages: usize,
    /// Unreferenced pages with reusable content.
    pub cached_pages: usize,
    /// State slots in the pool.
    pub state_slots: usize,
    /// State slots in use by leases.
    pub pinned_states: usize,
    /// Pages with a snapshot of the state after them.
    pub snapshots: usize,
    /// Bytes of all pages and state slots in use or cached.
    pub current_bytes: u64,
    /// The highest `current_bytes` so far.
    pub peak_bytes: u64,
    /// The limit of `current_bytes`.
    pub max_bytes: u64,
    /// Sequences that started with a cached prefix.
    pub hits: u64,
    /// Sequences that started without one.
    pub misses: u64,
    /// Positions reused instead of computed.
    pub reused_tokens: u64,
    /// Positions computed.
    pub computed_tokens: u64,
    /// Evicted sessions, pages and snapshots.
    pub evictions: u64,
    /// Evicted pages.
    pub evicted_pages: u64,
    /// Evicted snapshots, with or without their pages.
    pub evicted_snapshots: u64,
    /// Pages copied on write because they were shared.
    pub copied_pages: u64,
}

impl KvCacheStats {
    /// Fraction of sequences that started with a cached prefix; 0 without sequences.
    pub fn hit_rate(&self) -> f64 {
        match self.hits + self.misses {
            0 => 0.0,
            total => self.hits as f64 / total as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_rate_of_nothing_is_zero() {
        assert_eq!(KvCacheStats::default().hit_rate(), 0.0);
        assert_eq!(KvCacheStats { hits: 3, misses: 1, ..KvCacheStats::default() }.hit_rate(), 0.75);
    }
}
