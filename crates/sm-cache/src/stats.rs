//! What a cache has done so far.

/// Counts since the cache was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvCacheStats {
    /// Sessions that are remembered.
    pub current_sessions: usize,
    /// Sessions in use.
    pub busy_sessions: usize,
    /// Leases that are held.
    pub current_leases: usize,
    /// Pages in the pool.
    pub n_pages: usize,
    /// Pages that leases hold.
    pub pinned_pages: usize,
    /// Pages that nobody holds but whose content can be found.
    pub cached_pages: usize,
    /// State slots in the pool.
    pub state_slots: usize,
    /// State slots that leases refer to.
    pub pinned_states: usize,
    /// Pages that have a snapshot of the state after them.
    pub snapshots: usize,
    /// Bytes of all pages that hold something, and of all states in use.
    pub current_bytes: u64,
    /// The most that `current_bytes` has been.
    pub peak_bytes: u64,
    /// The most that `current_bytes` can be.
    pub max_bytes: u64,
    /// Sequences that began with positions computed before.
    pub hits: u64,
    /// Sequences that began with none.
    pub misses: u64,
    /// Positions whose computation was really skipped.
    pub reused_tokens: u64,
    /// Positions that were computed.
    pub computed_tokens: u64,
    /// Sessions, pages and snapshots that gave way to others.
    pub evictions: u64,
    /// Of these, pages.
    pub evicted_pages: u64,
    /// Snapshots of states that were evicted, with their pages or alone.
    pub evicted_snapshots: u64,
    /// Pages copied because two sequences shared them and one wrote.
    pub copied_pages: u64,
}

impl KvCacheStats {
    /// Share of the sequences that began with positions computed before; 0 when there were none.
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
