//! The pages of one sequence, in order, and its recurrent state.

use sm_tensor::{PageId, StateSlot};

/// The pages that hold positions `0..` of a sequence, how many positions are computed, and the state after them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageTable {
    pages: Vec<PageId>,
    computed: usize,
    state: Option<StateSlot>,
}

impl PageTable {
    /// The pages, in the order of their positions.
    pub(crate) fn pages(&self) -> &[PageId] {
        &self.pages
    }

    /// Positions whose keys and values are in the pages.
    pub(crate) fn computed(&self) -> usize {
        self.computed
    }

    /// The slot of the state after the computed positions. `None` if the pool has no states, before the first position, and
    /// where the state was lost or never read back.
    pub(crate) fn state(&self) -> Option<StateSlot> {
        self.state
    }

    /// Names the state after the computed positions; gives the slot named before.
    pub(crate) fn set_state(&mut self, state: Option<StateSlot>) -> Option<StateSlot> {
        std::mem::replace(&mut self.state, state)
    }

    /// Makes room for `n_pages` pages in all, so that appending up to there does not allocate.
    pub(crate) fn reserve(&mut self, n_pages: usize) {
        self.pages.reserve(n_pages.saturating_sub(self.pages.len()));
    }

    /// Appends a page.
    pub(crate) fn append(&mut self, page: PageId) {
        self.pages.push(page);
    }

    /// Notes that the first `computed` positions are in the pages.
    pub(crate) fn advance(&mut self, computed: usize) {
        self.computed = computed;
    }

    /// Keeps at most `computed` positions and the `n_pages` that they need; gives the other pages, last first.
    pub(crate) fn truncate(&mut self, computed: usize, n_pages: usize) -> impl Iterator<Item = PageId> {
        self.computed = self.computed.min(computed);
        let n_pages = n_pages.min(self.pages.len());
        self.pages.drain(n_pages..).rev()
    }

    /// Puts `page` in the place of another; gives the other.
    pub(crate) fn replace(&mut self, index: usize, page: PageId) -> PageId {
        std::mem::replace(&mut self.pages[index], page)
    }

    /// Takes over the computed positions of `parent`, which lie in its first `n_pages` pages. Both tables name the same
    /// pages and the same state then: who writes to one must take another first.
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
        let mut child = PageTable::default();
        child.fork_from(&table, 3);
        assert_eq!((child.pages().len(), child.computed()), (3, 40));
        assert_eq!(child.replace(2, PageId(9)), PageId(2));
        assert_eq!(table.pages()[2], PageId(2), "the parent keeps its page");
        assert_eq!(table.truncate(20, 2).collect::<Vec<_>>(), [PageId(3), PageId(2)]);
        assert_eq!((table.pages(), table.computed()), (&[PageId(0), PageId(1)][..], 20));
        assert_eq!(table.truncate(32, 2).count(), 0, "truncating adds nothing");
        assert_eq!(table.computed(), 20);
    }
}
