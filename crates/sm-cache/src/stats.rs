//! Statistics of the cache.

/// What a cache holds now, and what happened since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvCacheStats {
    /// Sessions.
    pub current_sessions: usize,
    /// Sessions that a call uses.
    pub busy_sessions: usize,
    /// Leases.
    pub current_leases: usize,
    /// Pages in the pool.
    pub n_pages: usize,
    /// Pages that leases use.
    pub pinned_pages: usize,
    /// Unreferenced pages whose content can be found.
    pub cached_pages: usize,
    /// State slots in the pool.
    pub state_slots: usize,
    /// State slots that leases use.
    pub pinned_states: usize,
    /// Pages that have a snapshot of the state after them.
    pub snapshots: usize,
    /// Bytes of all pages and state slots in use or cached.
    pub current_bytes: u64,
    /// The highest `current_bytes` so far.
    pub peak_bytes: u64,
    /// The limit of `current_bytes`.
    pub max_bytes: u64,
    /// Sequences that began with positions computed before.
    pub hits: u64,
    /// Sequences that began with none.
    pub misses: u64,
    /// Positions that did not have to be computed.
    pub reused_tokens: u64,
    /// Positions that were computed.
    pub computed_tokens: u64,
    /// Sessions, pages and snapshots that were evicted.
    pub evictions: u64,
    /// Pages that were evicted.
    pub evicted_pages: u64,
    /// Snapshots that were evicted, with their pages or alone.
    pub evicted_snapshots: u64,
    /// Pages that were copied before a write because they were shared.
    pub copied_pages: u64,
}

impl KvCacheStats {
    /// Share of sequences that began with positions computed before; 0 if there were none.
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
