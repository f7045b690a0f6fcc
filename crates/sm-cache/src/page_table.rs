//! The page table of one sequence, and its recurrent state.
//!
//! As in PagedAttention (<https://arxiv.org/abs/2309.06180>), position `p` is in page `pages[p / page_len]` at offset
//! `p % page_len`, so sequences grow in place and can share pages of equal content.

use sm_tensor::{PageId, StateSlot};

/// The pages of positions `0..`, how many positions are computed, and the state after them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageTable {
    pages: Vec<PageId>,
    computed: usize,
    state: Option<StateSlot>,
}

impl PageTable {
    /// The pages, in position order.
    pub(crate) fn pages(&self) -> &[PageId] {
        &self.pages
    }

    /// Positions whose keys and values are in the pages.
    pub(crate) fn computed(&self) -> usize {
        self.computed
    }

    /// The state after the computed positions. `None` if the pool has no states, before the first position, and if the
    /// state was lost or not restored.
    pub(crate) fn state(&self) -> Option<StateSlot> {
        self.state
    }

    /// Replaces the state after the computed positions and returns the previous one.
    pub(crate) fn replace_state(&mut self, state: Option<StateSlot>) -> Option<StateSlot> {
        std::mem::replace(&mut self.state, state)
    }

    /// Reserves capacity for `n_pages` pages in total, so that appending does not allocate.
    pub(crate) fn reserve(&mut self, n_pages: usize) {
        self.pages.reserve(n_pages.saturating_sub(self.pages.len()));
    }

    /// Appends a page.
    pub(crate) fn append(&mut self, page: PageId) {
        self.pages.push(page);
    }

    /// Sets the number of computed positions.
    pub(crate) fn advance(&mut self, computed: usize) {
        self.computed = computed;
    }

    /// Keeps at most `computed` positions and their `n_pages` pages. Returns the other pages, last first.
    pub(crate) fn truncate(&mut self, computed: usize, n_pages: usize) -> impl Iterator<Item = PageId> {
        self.computed = self.computed.min(computed);
        let n_pages = n_pages.min(self.pages.len());
        self.pages.drain(n_pages..).rev()
    }

    /// Replaces the page at `index` and returns the previous one.
    pub(crate) fn replace(&mut self, index: usize, page: PageId) -> PageId {
        std::mem::replace(&mut self.pages[index], page)
    }

    /// Adopts the computed positions of `parent`, which are in its first `n_pages` pages. Both tables then share pages and
    /// state, so neither sequence may write to them.
    pub(crate) fn fork_from(&mut self, parent: &Self, n_pages: usize) {
        self.pages.clear();
        self.pages.extend_from_slice(&parent.pages[..n_pages]);
        self.computed = parent.computed;
        self.state = parent.state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appends_truncates_and_forks() {
        let mut table = PageTable::default();
        (0..4).for_each(|page| table.append(PageId(page)));
        table.advance(40);
        assert_eq!(table.replace_state(Some(StateSlot(7))), None);
        let mut child = PageTable::default();
        child.fork_from(&table, 3);
        assert_eq!((child.pages().len(), child.computed(), child.state()), (3, 40, Some(StateSlot(7))));
        assert_eq!(child.replace(2, PageId(9)), PageId(2));
        assert_eq!(table.pages()[2], PageId(2), "the parent keeps its page");
        assert_eq!(table.truncate(20, 2).collect::<Vec<_>>(), [PageId(3), PageId(2)]);
        assert_eq!((table.pages(), table.computed()), (&[PageId(0), PageId(1)][..], 20));
        assert_eq!(table.truncate(32, 2).count(), 0, "truncating adds nothing");
        assert_eq!(table.computed(), 20);
    }
}
