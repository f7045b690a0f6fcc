//! Taking pages, giving them back, and who gives way.
//!
//! Pages that leases hold never give way. Of the others, blank pages are used first; then the least recently used goes,
//! be it an idle session's hold or a page that nobody holds. What an evicted session held stays findable until it is
//! overwritten, which happens next, the end of the conversation first.

use sm_tensor::PageId;

use super::KvCache;
use crate::allocator::Recency;
use crate::error::CacheError;
use crate::event::{CacheEvent, EvictionReason, Victim};
use crate::page_table::PageTable;
use crate::prefix::{CachedPage, ChainEnd};
use crate::session::SessionId;

impl KvCache {
    /// Gives up idle sessions' pages and unreferenced pages, the least recently used first, until the pages that hold
    /// something have at most `max_bytes`, or the rest is in use. Gives the bytes that they have then.
    pub fn trim(&mut self, max_bytes: u64) -> u64 {
        let reason = EvictionReason::Trim;
        while self.current_bytes() > max_bytes
            && (self.evict_oldest(reason) || self.evict_oldest_state(reason))
        {}
        self.current_bytes()
    }

    /// Before a request is admitted: gives up what nobody uses, the least recently used first, while more pages hold something
    /// than [`KvCacheConfig::gc_threshold_percent`](crate::KvCacheConfig::gc_threshold_percent) of those that may.
    pub fn collect(&mut self) {
        let threshold = self.max_pages() * usize::from(self.config.gc_threshold_percent) / 100;
        while self.allocator.n_resident() > threshold && self.evict_oldest(EvictionReason::Threshold) {}
    }

    /// The pages that hold nothing: whoever has their memory may use it for something else until they are leased.
    pub fn blank_pages(&self) -> impl Iterator<Item = PageId> {
        self.allocator.blank()
    }

    /// Changes the limit of bytes in total. What is in use stays, and the limit holds when it ends.
    ///
    /// # Errors
    /// If not even one page fits beside the state slots.
    pub fn set_max_bytes_total(&mut self, max_bytes: u64) -> Result<(), CacheError> {
        self.budget.check_max_bytes(max_bytes)?;
        self.config.max_bytes_total = max_bytes;
        self.budget.set_max_bytes(max_bytes);
        self.allocator.set_max_resident(self.budget.max_resident());
        self.keep_within_limit();
        Ok(())
    }

    /// Forgets all idle sessions and all pages that nobody holds. These do not count as evictions.
    pub fn clear(&mut self) {
        while let Some(session) = self.sessions.oldest_idle() {
            self.remove_session(session);
        }
        while let Some((page, _)) = self.allocator.oldest_cached() {
            self.forget_page(page, None);
        }
    }

    /// Pins a page for a lease; another may have to give way.
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

    /// Makes the least recently used idle session let go, or the least recently used page blank; `false` if there is none.
    fn evict_oldest(&mut self, reason: EvictionReason) -> bool {
        match (self.sessions.oldest_holding(), self.allocator.oldest_cached()) {
            (None, None) => return false,
            (Some((session, used)), page) if page.is_none_or(|(_, page_used)| used <= page_used) => {
                self.evict_session_pages(session, reason);
            }
            (_, Some((page, _))) => self.evict_page(page, reason),
            (Some((session, _)), None) => self.evict_session_pages(session, reason),
        }
        true
    }

    pub(super) fn evict_page(&mut self, page: PageId, reason: EvictionReason) {
        self.forget_page(page, Some(reason));
    }

    /// Makes a cached page blank, and the pages before it that then lead to no snapshot any more. With a reason, it is an
    /// eviction.
    fn forget_page(&mut self, page: PageId, reason: Option<EvictionReason>) {
        let parent = self.index.parent_of(page);
        self.forget_one_page(page, reason);
        self.prune(parent, reason);
    }

    /// If the pool has states: makes the cached page that ends a chain blank if it leads to no snapshot, then the page
    /// before it, and so on. Nobody can continue from such a page.
    pub(super) fn prune(&mut self, mut end: Option<ChainEnd>, reason: Option<EvictionReason>) {
        if self.states.is_empty() {
            return;
        }
        while let Some(page) = end.and_then(|end| self.useless_page(end)) {
            end = self.index.parent_of(page);
            self.forget_one_page(page, reason);
        }
    }

    /// The cached page that ends the chain, if it leads to no snapshot.
    fn useless_page(&self, end: ChainEnd) -> Option<PageId> {
        let page = self.index.with_content(end).find(|page| self.allocator.is_cached(*page))?;
        (!self.leads_to_snapshot(page)).then_some(page)
    }

    /// Whether a sequence can continue from an indexed page, or from one that follows it.
    pub(crate) fn leads_to_snapshot(&self, page: PageId) -> bool {
        self.index.n_children(page) > 0 || self.snapshot_of(page).is_some()
    }

    fn forget_one_page(&mut self, page: PageId, reason: Option<EvictionReason>) {
        if let Some(reason) = reason {
            self.report_page(page, reason);
        }
        self.unindex(page);
        self.allocator.retire_blank(page);
    }

    fn report_page(&mut self, page: PageId, reason: EvictionReason) {
        // Where a duplicate stays, the snapshot stays with it.
        let snapshot = self.states.snapshot(page).filter(|_| self.index.twin(page).is_none());
        let n_states = usize::from(snapshot.is_some_and(|slot| self.states.is_evictable(slot)));
        let freed_bytes = self.budget.bytes_of(1) + self.budget.bytes_of_states(n_states);
        if let Some(content) = self.index.get(page) {
            let victim = Victim::Page(CachedPage { snapshot, ..content });
            self.observers.on_event(&CacheEvent::Evicted { victim, reason, freed_bytes });
        }
        self.stats.evictions += 1;
        self.stats.evicted_pages += 1;
        self.stats.evicted_snapshots += u64::from(snapshot.is_some());
    }

    /// Takes a page out of the index. Its snapshot goes to a duplicate, if there is one, or is lost.
    pub(super) fn unindex(&mut self, page: PageId) {
        match self.states.snapshot(page).and_then(|_| self.index.twin(page)) {
            Some(twin) => self.states.move_snapshot(page, twin),
            None => _ = self.states.detach(page),
        }
        self.index.remove(page);
    }

    pub(super) fn evict_session_pages(&mut self, session: u32, reason: EvictionReason) {
        let used = self.sessions.get(session).used;
        let table = self.sessions.take_table(session);
        // The session is older than every cached page, but others may have used its first pages since then. Either way the
        // last page is reused first, for pages can only be found through those before them.
        let n_newer = table.pages().iter().take_while(|page| self.allocator.used(**page) > used).count();
        let (newer, older) = table.pages().split_at(n_newer);
        let n_freed =
            self.unhold(newer.iter().rev(), Recency::Newest) + self.unhold(older.iter(), Recency::Oldest);
        let freed_bytes = self.budget.bytes_of(n_freed) + self.drop_session_state(&table, Recency::Oldest);
        let victim = Victim::SessionPages(&self.sessions.get(session).id);
        self.observers.on_event(&CacheEvent::Evicted { victim, reason, freed_bytes });
        self.stats.evictions += 1;
    }

    /// Makes the least recently used session that no call uses give way to a new one; `false` if there is none.
    pub(super) fn evict_session(&mut self) -> bool {
        let Some(session) = self.sessions.oldest_idle() else {
            return false;
        };
        let (id, freed_bytes) = self.remove_session(session);
        let (victim, reason) = (Victim::Session(&id), EvictionReason::SessionCount);
        self.observers.on_event(&CacheEvent::Evicted { victim, reason, freed_bytes });
        self.stats.evictions += 1;
        true
    }

    /// Removes a session; gives its id and the bytes that nobody refers to any more.
    pub(super) fn remove_session(&mut self, session: u32) -> (SessionId, u64) {
        let freed_bytes = self.drop_session_pages(session);
        let removed = self.sessions.remove(session);
        self.index.leave(removed.namespace);
        (removed.id, freed_bytes)
    }

    /// Takes a session's pages from it, as if they had just been used; gives the bytes that nobody refers to any more.
    pub(super) fn drop_session_pages(&mut self, session: u32) -> u64 {
        let table = self.sessions.take_table(session);
        let n_freed = self.unhold(table.pages().iter().rev(), Recency::Newest);
        self.budget.bytes_of(n_freed) + self.drop_session_state(&table, Recency::Newest)
    }

    /// Drops a session's reference to its state; gives the bytes that nobody refers to any more.
    fn drop_session_state(&mut self, table: &PageTable, recency: Recency) -> u64 {
        let n_used = self.states.n_used();
        if let Some(state) = table.state() {
            self.states.drop_session_ref(state, recency);
        }
        self.budget.bytes_of_states(n_used - self.states.n_used())
    }

    /// Gives back holds; gives the number of pages that nobody holds any more.
    fn unhold<'a>(&mut self, pages: impl Iterator<Item = &'a PageId>, recency: Recency) -> usize {
        let mut n_freed = 0;
        for page in pages {
            self.allocator.unhold(*page);
            n_freed += usize::from(self.allocator.is_free(*page));
            self.retire(*page, recency);
        }
        n_freed
    }

    /// Gives back a lease's pin.
    pub(super) fn unpin(&mut self, page: PageId) {
        self.allocator.unpin(page, self.clock);
        self.retire(page, Recency::Newest);
    }

    /// Files a page that may have become free.
    fn retire(&mut self, page: PageId, recency: Recency) {
        if !self.allocator.is_free(page) {
            return;
        }
        let parent = self.index.parent_of(page);
        if !self.config.retains() {
            self.unindex(page);
        }
        let twin = self.index.twin(page);
        if let Some(twin) = twin {
            // One copy of a content is enough.
            self.unindex(page);
            if recency == Recency::Newest {
                self.allocator.touch(twin, self.clock);
            }
        }
        if !self.states.is_empty() && self.index.contains(page) && !self.leads_to_snapshot(page) {
            self.unindex(page);
        }
        match self.index.contains(page) {
            true => self.allocator.retire_cached(page, recency, self.clock),
            false => {
                self.allocator.retire_blank(page);
                self.prune(parent, None);
            }
        }
    }

    /// After a lowered limit: evicts until the limit holds, as far as pages are not in use.
    pub(super) fn keep_within_limit(&mut self) {
        while self.allocator.n_resident() > self.allocator.max_resident()
            && self.evict_oldest(EvictionReason::Trim)
        {}
    }
}
