//! Eviction: reclaims memory when none is free.
//!
//! A lease gets a blank page if there is one; otherwise the least recently used cached page or idle session's pages are
//! evicted. Likewise, a state slot is a free one, or that of the least recently used snapshot or idle session. Leased
//! memory is never evicted; if nothing else is left, a sequence must be preempted.
//!
//! Within a sequence, the end is evicted before the beginning, because pages are only found through their predecessors.
//! That needs no search: when a sequence ends, its pages enter the LRU order last page first.
//!
//! Evicting an idle session only drops its references. Its full pages become cached pages, first in line for eviction, so
//! nothing is lost before the memory is needed.

use sm_tensor::{PageId, StateSlot};

use super::KvCache;
use crate::error::CacheError;
use crate::event::{CacheEvent, EvictionReason, Victim};
use crate::list::Recency;
use crate::prefix::CachedPage;
use crate::session_id::SessionId;

impl KvCache {
    /// Evicts idle sessions' pages, cached pages and snapshots, least recently used first, until at most `max_bytes` are in
    /// use or cached, or nothing is left to evict. Returns the bytes still in use or cached.
    pub fn trim(&mut self, max_bytes: u64) -> u64 {
        let reason = EvictionReason::Trim;
        while self.current_bytes() > max_bytes
            && (self.evict_oldest(reason) || self.evict_oldest_state(reason))
        {}
        self.current_bytes()
    }

    /// Evicts down to [`KvCacheConfig::gc_threshold_percent`](crate::KvCacheConfig::gc_threshold_percent). Call before
    /// admitting a request.
    pub fn collect(&mut self) {
        let threshold = self.max_pages() * usize::from(self.config.gc_threshold_percent) / 100;
        while self.allocator.n_resident() > threshold && self.evict_oldest(EvictionReason::Threshold) {}
    }

    /// The pages without content. Their memory is free for other uses until they are leased.
    pub fn blank_pages(&self) -> impl Iterator<Item = PageId> {
        self.allocator.blank()
    }

    /// Changes the total byte limit and evicts down to it. Leased pages stay until released.
    ///
    /// # Errors
    /// If not even one page fits next to the state slots.
    pub fn set_max_bytes_total(&mut self, max_bytes: u64) -> Result<(), CacheError> {
        self.budget.check_max_bytes(max_bytes)?;
        self.config.max_bytes_total = max_bytes;
        self.budget.set_max_bytes(max_bytes);
        self.allocator.set_max_resident(self.budget.max_resident());
        self.keep_within_limit();
        Ok(())
    }

    /// Drops all idle sessions and cached pages. Does not count as eviction.
    pub fn clear(&mut self) {
        self.tick();
        while let Some(session) = self.sessions.oldest_idle() {
            self.remove_session(session);
        }
        while let Some((page, _)) = self.allocator.oldest_cached() {
            self.blank_page(page, None);
        }
    }

    /// Evicts down to the limit, as far as possible.
    pub(super) fn keep_within_limit(&mut self) {
        while self.allocator.n_resident() > self.allocator.max_resident()
            && self.evict_oldest(EvictionReason::Trim)
        {}
    }

    /// Pins a page for a lease.
    pub(super) fn take_page(&mut self) -> Option<PageId> {
        let page = loop {
            if let Some(page) = self.allocator.take_blank() {
                break page;
            }
            if !self.evict_oldest(EvictionReason::Memory) {
                return None;
            }
        };
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.current_bytes());
        Some(page)
    }

    /// Pins a state slot for a lease.
    pub(super) fn take_state(&mut self) -> Option<StateSlot> {
        let slot = loop {
            if let Some(slot) = self.states.take_free() {
                break slot;
            }
            if !self.evict_oldest_state(EvictionReason::Memory) {
                return None;
            }
        };
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.current_bytes());
        Some(slot)
    }

    /// Evicts the least recently used cached page or idle session's pages; `false` if there are none.
    fn evict_oldest(&mut self, reason: EvictionReason) -> bool {
        match (self.sessions.oldest_with_pages(), self.allocator.oldest_cached()) {
            (Some((session, used)), page) if page.is_none_or(|(_, page_used)| used <= page_used) => {
                self.evict_session_pages(session, reason);
            }
            (_, Some((page, _))) => self.blank_page(page, Some(reason)),
            (_, None) => return false,
        }
        true
    }

    /// Evicts the least recently used snapshot or idle session's pages; `false` if there are none.
    fn evict_oldest_state(&mut self, reason: EvictionReason) -> bool {
        match (self.sessions.oldest_with_pages(), self.states.oldest_evictable()) {
            (Some((session, used)), page) if page.is_none_or(|(_, state_used)| used <= state_used) => {
                self.evict_session_pages(session, reason);
            }
            (_, Some((page, _))) => self.evict_snapshot(page, reason),
            (_, None) => return false,
        }
        true
    }

    /// Evicts a page's snapshot, and the page too if nothing else makes it useful.
    pub(super) fn evict_snapshot(&mut self, page: PageId, reason: EvictionReason) {
        let is_useful = self.index.n_children(page) > 0 || self.index.duplicate(page).is_some();
        if self.allocator.is_cached(page) && !is_useful {
            return self.blank_page(page, Some(reason));
        }
        let snapshot = self.states.snapshot(page);
        let n_freed = usize::from(snapshot.is_some_and(|slot| self.states.is_evictable(slot)));
        if let Some(cached) = self.index.get(page) {
            let victim = Victim::Snapshot(CachedPage { snapshot, ..cached });
            let freed_bytes = self.budget.bytes_of_states(n_freed);
            self.observers.on_event(&CacheEvent::Evicted { victim, reason, freed_bytes });
        }
        self.states.detach(page);
        self.stats.evictions += 1;
        self.stats.evicted_snapshots += 1;
        // A cached duplicate of the page may have been useful only because of this snapshot.
        self.prune(self.index.end_of(page), None);
    }

    fn evict_session_pages(&mut self, session: u32, reason: EvictionReason) {
        self.tick();
        let used = self.sessions.get(session).used;
        let table = self.sessions.take_table(session);
        // A session that is older than every cached page has its pages first in line, except those that others have used
        // since, whose successors may be cached, and the pages before them, of which others may have used duplicates. One that
        // is evicted for its state may be newer than a page that follows its own. Either way, a page comes before its
        // predecessor.
        let is_oldest = self.allocator.oldest_cached().is_none_or(|(_, page_used)| used <= page_used);
        let is_newer = |page: &PageId| {
            !is_oldest || self.allocator.refs(*page).pins > 0 || self.allocator.used(*page) > used
        };
        let n_newer = table.pages().iter().rposition(is_newer).map_or(0, |last| last + 1);
        let (newer, older) = table.pages().split_at(n_newer);
        let n_freed = self.drop_session_refs(newer.iter().rev(), Recency::Newest)
            + self.drop_session_refs(older.iter(), Recency::Oldest);
        let freed_bytes = self.budget.bytes_of(n_freed) + self.drop_session_state(&table, Recency::Oldest);
        let victim = Victim::SessionPages(&self.sessions.get(session).id);
        self.observers.on_event(&CacheEvent::Evicted { victim, reason, freed_bytes });
        self.stats.evictions += 1;
    }

    /// Evicts the least recently used idle session, including its tokens, to make room for a new one.
    pub(super) fn evict_session(&mut self) {
        let Some(session) = self.sessions.oldest_idle() else {
            return;
        };
        self.tick();
        let removed = self.remove_session(session);
        self.observers.on_event(&CacheEvent::Evicted {
            victim: Victim::Session(&removed.id),
            reason: EvictionReason::SessionCount,
            freed_bytes: removed.freed_bytes,
        });
        self.stats.evictions += 1;
    }

    /// Removes an idle session.
    pub(super) fn remove_session(&mut self, session: u32) -> RemovedSession {
        let freed_bytes = self.drop_session_pages(session);
        let removed = self.sessions.remove(session);
        self.index.leave(removed.namespace);
        RemovedSession { id: removed.id, freed_bytes }
    }
}

/// Result of [`KvCache::remove_session`].
#[derive(Debug)]
pub(super) struct RemovedSession {
    id: SessionId,
    /// Bytes of pages and states that lost their last reference.
    freed_bytes: u64,
}
