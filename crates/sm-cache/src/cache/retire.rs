//! Retirement of pages and states that lose references.
//!
//! An unreferenced page is cached if others can find and use it, otherwise blanked:
//!
//! * It must be indexed, and the configuration must retain pages.
//! * No duplicate of it may be indexed: one copy is enough.
//! * If the pool has states, it must lead to a snapshot: its own or that of a later page. No sequence could continue from
//!   any other page. So when a page loses its last child or its snapshot, it and then its predecessors may be *pruned*.

use sm_tensor::PageId;

use super::KvCache;
use crate::event::{CacheEvent, EvictionReason, Victim};
use crate::list::Recency;
use crate::page_table::PageTable;
use crate::prefix::{CachedPage, ChainEnd};

impl KvCache {
    /// Drops a lease's reference to a page.
    pub(super) fn unpin(&mut self, page: PageId) {
        self.allocator.unpin(page, self.clock);
        self.retire(page, Recency::Newest);
    }

    /// Takes pages and state from a session, which counts as a use. Returns the bytes that lost their last reference.
    pub(super) fn drop_session_pages(&mut self, session: u32) -> u64 {
        let table = self.sessions.take_table(session);
        let n_freed = self.drop_session_refs(table.pages().iter().rev(), Recency::Newest);
        self.budget.bytes_of(n_freed) + self.drop_session_state(&table, Recency::Newest)
    }

    /// Drops a session's references to pages; returns the number of pages that lost their last reference.
    pub(super) fn drop_session_refs<'a>(
        &mut self,
        pages: impl Iterator<Item = &'a PageId>,
        recency: Recency,
    ) -> usize {
        let mut n_freed = 0;
        for page in pages {
            self.allocator.drop_session_ref(*page);
            n_freed += usize::from(!self.allocator.is_referenced(*page));
            self.retire(*page, recency);
        }
        n_freed
    }

    /// Drops a session's reference to its state; returns the bytes that lost their last reference.
    pub(super) fn drop_session_state(&mut self, table: &PageTable, recency: Recency) -> u64 {
        let n_used = self.states.n_used();
        if let Some(state) = table.state() {
            self.states.drop_session_ref(state, recency);
        }
        self.budget.bytes_of_states(n_used - self.states.n_used())
    }

    /// Caches or blanks a page if it has lost its last reference.
    fn retire(&mut self, page: PageId, recency: Recency) {
        if self.allocator.is_referenced(page) {
            if recency == Recency::Newest {
                // Its successors may now be cached as the newest pages, and must not outlive it.
                self.allocator.touch(page, self.clock);
            }
            return;
        }
        let parent = self.index.parent_of(page);
        if let Some(duplicate) = self.index.duplicate(page)
            && self.config.retains()
        {
            self.unindex(page);
            if recency == Recency::Newest {
                self.allocator.touch(duplicate, self.clock);
            }
        }
        if !self.config.retains() || !self.is_useful(page) {
            self.unindex(page);
        }
        if self.index.contains(page) {
            self.allocator.retire_cached(page, recency, self.clock);
        } else {
            self.allocator.retire_blank(page);
            self.prune(parent, None);
        }
    }

    /// Whether a sequence can continue from an indexed page or a later one.
    fn is_useful(&self, page: PageId) -> bool {
        !self.is_stateful() || self.index.n_children(page) > 0 || self.snapshot_of(page).is_some()
    }

    /// Blanks a cached page and prunes. With a reason, counts as an eviction.
    pub(super) fn blank_page(&mut self, page: PageId, reason: Option<EvictionReason>) {
        let parent = self.index.parent_of(page);
        self.blank_one_page(page, reason);
        self.prune(parent, reason);
    }

    /// Blanks the cached page at the end of a chain if it has become useless, then its predecessor, and so on.
    pub(super) fn prune(&mut self, mut end: Option<ChainEnd>, reason: Option<EvictionReason>) {
        if !self.is_stateful() {
            return;
        }
        while let Some(page) = end.and_then(|end| self.useless_page(end)) {
            end = self.index.parent_of(page);
            self.blank_one_page(page, reason);
        }
    }

    /// The cached page at the end of a chain, if it is useless.
    fn useless_page(&self, end: ChainEnd) -> Option<PageId> {
        let cached = self.index.with_content(end).find(|page| self.allocator.is_cached(*page));
        cached.filter(|page| !self.is_useful(*page))
    }

    fn blank_one_page(&mut self, page: PageId, reason: Option<EvictionReason>) {
        if let Some(reason) = reason {
            self.report_eviction(page, reason);
        }
        self.unindex(page);
        self.allocator.retire_blank(page);
    }

    fn report_eviction(&mut self, page: PageId, reason: EvictionReason) {
        // If a duplicate remains, so does the snapshot.
        let snapshot = self.states.snapshot(page).filter(|_| self.index.duplicate(page).is_none());
        let n_freed_states = usize::from(snapshot.is_some_and(|slot| self.states.is_evictable(slot)));
        if let Some(cached) = self.index.get(page) {
            let victim = Victim::Page(CachedPage { snapshot, ..cached });
            let freed_bytes = self.budget.bytes_of(1) + self.budget.bytes_of_states(n_freed_states);
            self.observers.on_event(&CacheEvent::Evicted { victim, reason, freed_bytes });
        }
        self.stats.evictions += 1;
        self.stats.evicted_pages += 1;
        self.stats.evicted_snapshots += u64::from(snapshot.is_some());
    }

    /// Removes a page from the index. Its snapshot moves to a duplicate or, without one, is lost.
    pub(super) fn unindex(&mut self, page: PageId) {
        let duplicate = self.index.duplicate(page);
        match duplicate.filter(|_| self.states.snapshot(page).is_some()) {
            Some(duplicate) => self.states.move_snapshot(page, duplicate),
            None => self.states.detach(page),
        }
        let removed = self.index.end_of(page).filter(|_| duplicate.is_none());
        self.index.remove(page);
        if let Some(end) = removed {
            self.observers.on_event(&CacheEvent::Removed { key: end.key });
        }
    }
}
