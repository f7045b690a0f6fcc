//! Page states: blank, cached or referenced, and the eviction order of the cached ones.
//!
//! ```text
//!            take_blank               unpin, drop_session_ref
//!   blank ──────────────► referenced ────────────────────────► unreferenced
//!     ▲                    ▲                                    │        │
//!     │                    │ pin          retire_cached         │        │ retire_blank
//!     │                    └──────────────────── cached ◄───────┘        │
//!     │       retire_blank                          │                    │
//!     └─────────────────────────────────────────────┴────────────────────┘
//! ```
//!
//! A referenced page has *pins* from leases, which protect it, or references from idle *sessions*, which the cache may
//! revoke. Reference counts make sharing cheap (PagedAttention, <https://arxiv.org/abs/2309.06180>); a cached page keeps
//! its content at no cost until the memory is needed.

use sm_tensor::PageId;

use crate::list::{IndexList, Recency};

#[derive(Clone, Copy, Debug, Default)]
struct Page {
    refs: PageRefs,
    /// Time of last use, in ticks of the cache.
    used: u64,
}

/// Reference counts of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageRefs {
    /// Leases that use it: it must not be evicted.
    pub(crate) pins: u32,
    /// Idle sessions that refer to it: it may be evicted.
    pub(crate) sessions: u32,
}

impl PageRefs {
    /// All references.
    pub(crate) fn total(self) -> u32 {
        self.pins + self.sessions
    }
}

/// All pages of a pool.
#[derive(Debug)]
pub(crate) struct PageAllocator {
    pages: Vec<Page>,
    blank: Vec<u32>,
    /// Unreferenced but indexed pages, least recently used first.
    cached: IndexList,
    n_pinned: usize,
    max_resident: usize,
}

impl PageAllocator {
    /// `n_pages` blank pages, of which at most `max_resident` may be in use or cached at a time.
    pub(crate) fn new(n_pages: u32, max_resident: usize) -> Self {
        let pages = vec![Page::default(); n_pages as usize];
        let cached = IndexList::new(pages.len());
        let max_resident = max_resident.min(pages.len());
        Self { pages, blank: (0..n_pages).rev().collect(), cached, n_pinned: 0, max_resident }
    }

    /// Pages in the pool.
    pub(crate) fn n_pages(&self) -> usize {
        self.pages.len()
    }

    /// Pages that are not blank.
    pub(crate) fn n_resident(&self) -> usize {
        self.pages.len() - self.blank.len()
    }

    /// The limit of [`PageAllocator::n_resident`].
    pub(crate) fn max_resident(&self) -> usize {
        self.max_resident
    }

    /// Changes the limit. Pages above a lower limit stay as they are.
    pub(crate) fn set_max_resident(&mut self, max_resident: usize) {
        self.max_resident = max_resident.min(self.pages.len());
    }

    /// Pages that leases use.
    pub(crate) fn n_pinned(&self) -> usize {
        self.n_pinned
    }

    /// Pages available to leases if everything else is evicted.
    pub(crate) fn n_available(&self) -> usize {
        self.max_resident.saturating_sub(self.n_pinned)
    }

    /// The reference counts of a page.
    pub(crate) fn refs(&self, page: PageId) -> PageRefs {
        self.pages[page.0 as usize].refs
    }

    /// Whether the page has references.
    pub(crate) fn is_referenced(&self, page: PageId) -> bool {
        self.refs(page).total() > 0
    }

    /// Whether the page is cached.
    pub(crate) fn is_cached(&self, page: PageId) -> bool {
        self.cached.contains(page.0)
    }

    /// The cached pages, least recently used first.
    pub(crate) fn cached(&self) -> impl Iterator<Item = PageId> {
        self.cached.iter().map(PageId)
    }

    /// Number of cached pages.
    pub(crate) fn n_cached(&self) -> usize {
        self.cached.len()
    }

    /// The blank pages.
    pub(crate) fn blank(&self) -> impl Iterator<Item = PageId> {
        self.blank.iter().copied().map(PageId)
    }

    /// The least recently used cached page and its time of last use.
    pub(crate) fn oldest_cached(&self) -> Option<(PageId, u64)> {
        self.cached.front().map(|page| (PageId(page), self.pages[page as usize].used))
    }

    /// A page's time of last use.
    pub(crate) fn used(&self, page: PageId) -> u64 {
        self.pages[page.0 as usize].used
    }

    /// Pins a blank page; `None` if there is none or the limit is reached.
    pub(crate) fn take_blank(&mut self) -> Option<PageId> {
        if self.n_resident() >= self.max_resident {
            return None;
        }
        let page = PageId(self.blank.pop()?);
        self.add_pin(page);
        Some(page)
    }

    /// Pins a page that is not blank.
    pub(crate) fn pin(&mut self, page: PageId) {
        self.cached.discard(page.0);
        self.add_pin(page);
    }

    fn add_pin(&mut self, page: PageId) {
        let pins = &mut self.pages[page.0 as usize].refs.pins;
        *pins += 1;
        self.n_pinned += usize::from(*pins == 1);
    }

    /// Drops a pin at time `now`. If no reference is left, the caller must retire the page.
    pub(crate) fn unpin(&mut self, page: PageId, now: u64) {
        let entry = &mut self.pages[page.0 as usize];
        entry.refs.pins -= 1;
        entry.used = now;
        self.n_pinned -= usize::from(entry.refs.pins == 0);
    }

    /// Adds an idle session's reference to a referenced page.
    pub(crate) fn add_session_ref(&mut self, page: PageId) {
        self.pages[page.0 as usize].refs.sessions += 1;
    }

    /// Drops an idle session's reference. If no reference is left, the caller must retire the page.
    pub(crate) fn drop_session_ref(&mut self, page: PageId) {
        self.pages[page.0 as usize].refs.sessions -= 1;
    }

    /// Blanks an unreferenced page.
    pub(crate) fn retire_blank(&mut self, page: PageId) {
        debug_assert!(!self.is_referenced(page), "page {} is in use", page.0);
        self.cached.discard(page.0);
        self.blank.push(page.0);
    }

    /// Caches an unreferenced page at time `now`.
    pub(crate) fn retire_cached(&mut self, page: PageId, recency: Recency, now: u64) {
        debug_assert!(!self.is_referenced(page), "page {} is in use", page.0);
        self.cached.push(page.0, recency);
        if recency == Recency::Newest {
            self.pages[page.0 as usize].used = now;
        }
    }

    /// Makes a page the most recently used one.
    pub(crate) fn touch(&mut self, page: PageId, now: u64) {
        if self.is_cached(page) {
            self.cached.remove(page.0);
            self.cached.push_back(page.0);
        }
        self.pages[page.0 as usize].used = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_through_all_its_states() {
        let mut allocator = PageAllocator::new(3, 2);
        let a = allocator.take_blank().unwrap();
        let b = allocator.take_blank().unwrap();
        assert_eq!(allocator.take_blank(), None, "two may be resident");
        assert_eq!((allocator.n_resident(), allocator.n_available()), (2, 0));
        allocator.add_session_ref(a);
        allocator.unpin(a, 1);
        assert!(allocator.is_referenced(a));
        assert_eq!(allocator.n_available(), 1, "an idle session can lose its pages");
        allocator.drop_session_ref(a);
        allocator.retire_cached(a, Recency::Newest, 1);
        allocator.unpin(b, 2);
        allocator.retire_cached(b, Recency::Newest, 2);
        assert_eq!(allocator.oldest_cached(), Some((a, 1)));
        allocator.touch(a, 3);
        assert_eq!(allocator.oldest_cached(), Some((b, 2)));
        allocator.pin(b);
        assert_eq!(allocator.cached().collect::<Vec<_>>(), [a]);
        allocator.unpin(b, 4);
        allocator.retire_blank(b);
        assert_eq!((allocator.n_resident(), allocator.blank().count(), allocator.n_pinned()), (1, 2, 0));
    }

    #[test]
    fn pages_of_an_evicted_session_are_evicted_first() {
        let mut allocator = PageAllocator::new(4, 4);
        let pages: Vec<_> = (0..4).filter_map(|_| allocator.take_blank()).collect();
        for page in &pages {
            allocator.unpin(*page, 1);
        }
        allocator.retire_cached(pages[3], Recency::Newest, 2);
        for page in &pages[..3] {
            allocator.retire_cached(*page, Recency::Oldest, 3);
        }
        let order: Vec<_> = allocator.cached().collect();
        assert_eq!(order, [pages[2], pages[1], pages[0], pages[3]]);
    }
}
