//! Memory limits, in pages and bytes.
//!
//! ```text
//! max_bytes_total ≥ pages in use or cached · page_bytes  +  all state slots · state_bytes
//! ```
//!
//! All state slots always count as in use: they are few, the executor has allocated them anyway, and the number of usable
//! pages must not depend on how many sequences happen to run.

use crate::config::{KvCacheConfig, PagePool};
use crate::error::{CacheError, Resource};

/// The limits of one cache, and the sizes of its pages and states.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    page_len: usize,
    page_bytes: u64,
    n_pages: usize,
    state_bytes: u64,
    /// Bytes of all state slots.
    states_bytes: u64,
    max_tokens_per_session: u64,
    max_bytes_per_session: Option<u64>,
    max_bytes_total: u64,
}

impl Budget {
    /// The limits of `config` for the pages of `pool`.
    ///
    /// # Errors
    /// If a number is zero or too large.
    pub(crate) fn new(config: &KvCacheConfig, pool: &PagePool) -> Result<Self, CacheError> {
        let invalid = |field, value: u64, reason| Err(CacheError::InvalidConfig { field, value, reason });
        if pool.page_len == 0 {
            return invalid("page_len", 0, "must be at least 1");
        }
        if !(1..=u32::MAX as usize / 2).contains(&pool.n_pages) {
            return invalid("n_pages", pool.n_pages as u64, "must be at least 1 and below 2^31");
        }
        let is_usable = |bytes: &u64| *bytes > 0 || pool.n_state_slots > 0;
        let Some(page_bytes) = pool.page_bytes().filter(is_usable) else {
            return invalid("shape", 0, "must have positive factors whose product fits 64 bits");
        };
        if pool.n_state_slots > u32::MAX as usize / 2 {
            return invalid("n_state_slots", pool.n_state_slots as u64, "must be below 2^31");
        }
        if pool.n_state_slots > 0 && pool.state_bytes == 0 {
            return invalid("state_bytes", 0, "must be at least 1 if there are state slots");
        }
        let Some(states_bytes) = pool.states_bytes().filter(|bytes| bytes.checked_add(page_bytes).is_some())
        else {
            return invalid(
                "state_bytes",
                pool.state_bytes as u64,
                "must fit 64 bits when multiplied by the slots",
            );
        };
        for (field, percent) in [
            ("high_watermark_percent", config.high_watermark_percent),
            ("gc_threshold_percent", config.gc_threshold_percent),
        ] {
            if !(1..=100).contains(&percent) {
                return invalid(field, percent.into(), "must be between 1 and 100");
            }
        }
        let new = Self {
            page_len: pool.page_len,
            page_bytes,
            n_pages: pool.n_pages,
            state_bytes: pool.state_bytes as u64,
            states_bytes,
            max_tokens_per_session: match config.max_tokens_per_session {
                0 => u64::MAX,
                limit => limit as u64,
            },
            max_bytes_per_session: config.max_bytes_per_session,
            max_bytes_total: config.max_bytes_total,
        };
        new.check_max_bytes(config.max_bytes_total)?;
        Ok(new)
    }

    /// Checks a total byte limit.
    ///
    /// # Errors
    /// If it is too small to compute anything.
    pub(crate) fn check_max_bytes(&self, max_bytes_total: u64) -> Result<(), CacheError> {
        let reason = match self.states_bytes {
            0 => "must hold at least one page",
            _ => "must hold all state slots and at least one page",
        };
        match max_bytes_total < self.states_bytes + self.page_bytes {
            true => {
                Err(CacheError::InvalidConfig { field: "max_bytes_total", value: max_bytes_total, reason })
            }
            false => Ok(()),
        }
    }

    /// Positions in a page.
    pub(crate) fn page_len(&self) -> usize {
        self.page_len
    }

    /// Pages that `n_tokens` positions need.
    pub(crate) fn pages_for(&self, n_tokens: usize) -> usize {
        n_tokens.div_ceil(self.page_len)
    }

    /// Bytes of `n_pages` pages.
    pub(crate) fn bytes_of(&self, n_pages: usize) -> u64 {
        (n_pages as u64).saturating_mul(self.page_bytes)
    }

    /// Bytes of `n_slots` state slots.
    pub(crate) fn bytes_of_states(&self, n_slots: usize) -> u64 {
        // Cannot overflow: all slots together fit.
        n_slots as u64 * self.state_bytes
    }

    /// Maximum bytes of pages and states.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes_total.min(self.bytes_of(self.n_pages).saturating_add(self.states_bytes))
    }

    /// Changes the total byte limit, which must have been checked.
    pub(crate) fn set_max_bytes(&mut self, max_bytes_total: u64) {
        self.max_bytes_total = max_bytes_total;
    }

    /// Pages that may be in use or cached at a time.
    pub(crate) fn max_resident(&self) -> usize {
        let n_pages = (self.max_bytes_total - self.states_bytes).checked_div(self.page_bytes);
        n_pages
            .and_then(|n_pages| usize::try_from(n_pages).ok())
            .map_or(self.n_pages, |n| n.min(self.n_pages))
    }

    /// Checks that a session may have `n_tokens` positions.
    ///
    /// # Errors
    /// The first limit exceeded.
    pub(crate) fn check_session(&self, n_tokens: usize) -> Result<(), CacheError> {
        let within = |resource, actual: u64, limit: u64| match actual <= limit {
            true => Ok(()),
            false => Err(CacheError::ResourceLimit { resource, limit, actual }),
        };
        within(Resource::SessionTokens, n_tokens as u64, self.max_tokens_per_session)?;
        let max_bytes = self.max_bytes_per_session.unwrap_or(u64::MAX);
        let state_bytes = if self.states_bytes == 0 { 0 } else { self.state_bytes };
        let bytes = self.bytes_of(self.pages_for(n_tokens)).saturating_add(state_bytes);
        within(Resource::SessionBytes, bytes, max_bytes)
    }

    /// Checks that a single sequence running alone can have `n_pages` pages.
    ///
    /// # Errors
    /// If the whole cache is too small.
    pub(crate) fn check_total(&self, n_pages: usize) -> Result<(), CacheError> {
        if n_pages <= self.max_resident() {
            return Ok(());
        }
        let limit = self.max_bytes();
        let actual = self.bytes_of(n_pages).saturating_add(self.states_bytes);
        Err(CacheError::ResourceLimit { resource: Resource::TotalBytes, limit, actual })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KvShape;

    const SHAPE: KvShape = KvShape { n_layers: 2, n_kv_heads: 2, head_bytes: 8 };

    fn pool() -> PagePool {
        PagePool::new(100, 16, SHAPE)
    }

    #[test]
    fn bytes_count_whole_pages_of_key_and_value_heads() {
        let budget = Budget::new(&KvCacheConfig::default(), &pool()).unwrap();
        assert_eq!(budget.bytes_of(budget.pages_for(17)), 2 * 2 * 2 * 2 * 4 * 2 * 16);
        assert_eq!(budget.max_resident(), 100);
        let config = KvCacheConfig { max_bytes_total: 10 * 1024 + 1, ..KvCacheConfig::default() };
        assert_eq!(Budget::new(&config, &pool()).unwrap().max_resident(), 10);
    }

    #[test]
    fn all_state_slots_are_paid_for_before_the_first_page() {
        let pool = pool().with_states(3, 500);
        let config = KvCacheConfig {
            max_bytes_total: 1500 + 2 * 1024,
            max_bytes_per_session: Some(2 * 1024),
            ..KvCacheConfig::default()
        };
        let budget = Budget::new(&config, &pool).unwrap();
        assert_eq!((budget.max_resident(), budget.bytes_of_states(2)), (2, 1000));
        assert!(budget.check_session(16).is_ok());
        assert!(budget.check_session(17).is_err(), "two pages and a state");
        let error = budget.check_total(3).unwrap_err();
        assert!(matches!(error, CacheError::ResourceLimit { limit: 3548, actual: 4572, .. }), "{error}");
        assert!(Budget::new(&KvCacheConfig { max_bytes_total: 1500 + 1023, ..config }, &pool).is_err());
        assert_eq!(Budget::new(&KvCacheConfig::default(), &pool).unwrap().max_bytes(), 1500 + 100 * 1024);
    }

    #[test]
    fn pages_without_bytes_are_limited_by_their_number() {
        let states_only = PagePool::from_page_bytes(100, 16, 0).with_states(4, 500);
        let budget = Budget::new(&KvCacheConfig::default(), &states_only).unwrap();
        assert_eq!((budget.max_resident(), budget.max_bytes(), budget.bytes_of(7)), (100, 2000, 0));
        assert!(budget.check_total(100).is_ok());
    }

    #[test]
    fn limits_are_checked_in_order() {
        let config = KvCacheConfig {
            max_tokens_per_session: 64,
            max_bytes_per_session: Some(2 * 1024),
            max_bytes_total: 8 * 1024,
            ..KvCacheConfig::default()
        };
        let budget = Budget::new(&config, &pool()).unwrap();
        let over = |n_tokens| match budget.check_session(n_tokens) {
            Err(CacheError::ResourceLimit { resource, limit, actual }) => Some((resource, limit, actual)),
            _ => None,
        };
        assert_eq!(over(65), Some((Resource::SessionTokens, 64, 65)));
        assert_eq!(over(33), Some((Resource::SessionBytes, 2048, 3072)));
        assert_eq!(over(32), None);
        assert!(budget.check_total(8).is_ok());
        assert_eq!(
            budget.check_total(9).unwrap_err().to_string(),
            "the request needs 9216 but max_bytes_total is 8192; shorten it or raise max_bytes_total"
        );
    }

    #[test]
    fn unusable_numbers_are_rejected() {
        let config = KvCacheConfig::default();
        let rejected = |config: &KvCacheConfig, pool: PagePool| Budget::new(config, &pool).is_err();
        assert!(rejected(&config, PagePool::new(100, 0, SHAPE)));
        assert!(rejected(&config, PagePool::new(0, 16, SHAPE)));
        assert!(rejected(&config, PagePool::new(usize::MAX, 16, SHAPE)));
        for head_bytes in [0, usize::MAX] {
            assert!(rejected(&config, PagePool::new(100, 16, KvShape { head_bytes, ..SHAPE })));
        }
        assert!(rejected(&config, PagePool::from_page_bytes(100, 16, 0)));
        assert!(rejected(&config, pool().with_states(1, 0)));
        assert!(rejected(&config, pool().with_states(usize::MAX, 1)));
        assert!(rejected(&config, pool().with_states(4, usize::MAX)));
        assert!(rejected(&KvCacheConfig { max_bytes_total: 1023, ..config.clone() }, pool()));
        assert!(rejected(&KvCacheConfig { high_watermark_percent: 0, ..config.clone() }, pool()));
        assert!(rejected(&KvCacheConfig { gc_threshold_percent: 101, ..config }, pool()));
    }
}
