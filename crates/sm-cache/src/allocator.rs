//! Which pages are blank, cached or in use, and by how many.

use sm_tensor::PageId;

use crate::list::IndexList;

/// Where a page goes among the cached ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recency {
    /// Reused last.
    Newest,
    /// Reused first.
    Oldest,
}

#[derive(Clone, Copy, Debug, Default)]
struct Page {
    /// Leases that hold it: it must stay as it is.
    pins: u32,
    /// Idle sessions that hold it: it may be taken from them.
    holds: u32,
    /// When it was last used, in ticks of the cache.
    used: u64,
}

/// All pages of a pool. A page is in use while it is pinned or held; else it is blank, or cached and in the list of the
/// cached pages, the least recently used first.
#[derive(Debug)]
pub(crate) struct PageAllocator {
    pages: Vec<Page>,
    blank: Vec<u32>,
    cached: IndexList,
    n_pinned: usize,
    max_resident: usize,
}

impl PageAllocator {
    /// `n_pages` blank pages, of which at most `max_resident` may be something else at a time.
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

    /// Pages that hold something: all that are not blank.
    pub(crate) fn n_resident(&self) -> usize {
        self.pages.len() - self.blank.len()
    }

    /// Pages that may hold something.
    pub(crate) fn max_resident(&self) -> usize {
        self.max_resident
    }

    /// Changes how many pages may hold something; those that do are left as they are.
    pub(crate) fn set_max_resident(&mut self, max_resident: usize) {
        self.max_resident = max_resident.min(self.pages.len());
    }

    /// Pages that leases hold.
    pub(crate) fn n_pinned(&self) -> usize {
        self.n_pinned
    }

    /// Pages that leases may still take, if nobody else is spared.
    pub(crate) fn n_available(&self) -> usize {
        self.max_resident.saturating_sub(self.n_pinned)
    }

    /// Leases and idle sessions that hold the page.
    pub(crate) fn refs(&self, page: PageId) -> (u32, u32) {
        let Page { pins, holds, .. } = self.pages[page.0 as usize];
        (pins, holds)
    }

    /// Whether nobody holds the page.
    pub(crate) fn is_free(&self, page: PageId) -> bool {
        self.refs(page) == (0, 0)
    }

    /// Whether the page is among the cached ones.
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

    /// The least recently used cached page, and when it was used.
    pub(crate) fn oldest_cached(&self) -> Option<(PageId, u64)> {
        self.cached.front().map(|page| (PageId(page), self.pages[page as usize].used))
    }

    /// When a page was last used.
    pub(crate) fn used(&self, page: PageId) -> u64 {
        self.pages[page.0 as usize].used
    }

    /// Pins a blank page, if there is one and it may be used.
    pub(crate) fn take_blank(&mut self) -> Option<PageId> {
        if self.n_resident() >= self.max_resident {
            return None;
        }
        let page = PageId(self.blank.pop()?);
        self.count_pin(page);
        Some(page)
    }

    /// Pins a page that is in use or cached.
    pub(crate) fn pin(&mut self, page: PageId) {
        if self.is_cached(page) {
            self.cached.remove(page.0);
        }
        self.count_pin(page);
    }

    fn count_pin(&mut self, page: PageId) {
        let pins = &mut self.pages[page.0 as usize].pins;
        *pins += 1;
        self.n_pinned += usize::from(*pins == 1);
    }

    /// Gives back a pin at time `now`. A page that this makes free must then be retired.
    pub(crate) fn unpin(&mut self, page: PageId, now: u64) {
        let entry = &mut self.pages[page.0 as usize];
        entry.pins -= 1;
        entry.used = now;
        self.n_pinned -= usize::from(entry.pins == 0);
    }

    /// Lets an idle session hold a page that is in use.
    pub(crate) fn hold(&mut self, page: PageId) {
        self.pages[page.0 as usize].holds += 1;
    }

    /// Gives back a hold. A page that this makes free must then be retired.
    pub(crate) fn unhold(&mut self, page: PageId) {
        self.pages[page.0 as usize].holds -= 1;
    }

    /// Makes a free page blank.
    pub(crate) fn retire_blank(&mut self, page: PageId) {
        debug_assert!(self.is_free(page), "page {} is in use", page.0);
        if self.is_cached(page) {
            self.cached.remove(page.0);
        }
        self.blank.push(page.0);
    }

    /// Makes a free page cached, at time `now`.
    pub(crate) fn retire_cached(&mut self, page: PageId, recency: Recency, now: u64) {
        debug_assert!(self.is_free(page), "page {} is in use", page.0);
        match recency {
            Recency::Newest => {
                self.cached.push_back(page.0);
                self.pages[page.0 as usize].used = now;
            }
            Recency::Oldest => self.cached.push_front(page.0),
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
    fn a_page_is_taken_pinned_held_cached_and_blank_again() {
        let mut allocator = PageAllocator::new(3, 2);
        let a = allocator.take_blank().unwrap();
        let b = allocator.take_blank().unwrap();
        assert_eq!(allocator.take_blank(), None, "two may be resident");
        assert_eq!((allocator.n_resident(), allocator.n_available()), (2, 0));
        allocator.hold(a);
        allocator.unpin(a, 1);
        assert!(!allocator.is_free(a));
        assert_eq!(allocator.n_available(), 1, "what an idle session holds can be had");
        allocator.unhold(a);
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
    fn an_evicted_session_s_pages_are_reused_first() {
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
