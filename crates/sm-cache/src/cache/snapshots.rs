//! Known states: the current state of each lease, and snapshots of earlier ones.
//!
//! A lease knows the state after its computed positions, and earlier ones only where a page has a snapshot. Anything that
//! rolls back (rejected drafts, trimmed text, a failed step) or starts in the middle (a shared prefix, a resumed sequence)
//! goes to the last position with a known state and recomputes the rest. That costs work but never changes the output.

use sm_tensor::{PageId, StateSlot};

use super::KvCache;
use crate::lease::{KvHandle, StepStates};

impl KvCache {
    /// After a step: makes the state after `computed` positions the current one, and those at page ends snapshots.
    ///
    /// # Panics
    /// If the step did not keep that state.
    pub(super) fn commit_states(&mut self, handle: &KvHandle, computed: usize) {
        let lease = self.leases.get_mut(handle);
        let StepStates { written, mut kept } = std::mem::take(&mut lease.step);
        let last = written.filter(|written| written.position == computed).map(|written| written.slot);
        let of_kept = || kept.iter().find(|kept| kept.position == computed).map(|kept| kept.slot);
        let state = last.or_else(of_kept);
        assert!(
            state.is_some() || written.is_none(),
            "no state was reserved after {computed} positions: written {written:?}, kept {kept:?}"
        );
        let before = lease.table.replace_state(state);
        let decodes = written.is_some_and(|written| written.decodes);
        if let Some(state) = state {
            self.states.pin(state);
            self.publish_snapshot(handle, computed, state, decodes);
        }
        for kept in &kept {
            self.publish_snapshot(handle, kept.position, kept.slot, decodes);
            self.states.unpin(kept.slot, self.clock);
        }
        if let Some(written) = written.filter(|written| !written.in_place) {
            self.states.unpin(written.slot, self.clock);
        }
        if let Some(before) = before {
            self.states.unpin(before, self.clock);
        }
        kept.clear();
        self.leases.get_mut(handle).step.kept = kept;
    }

    /// Makes a state the snapshot of the page that ends at `position`, if the page is indexed and has none.
    fn publish_snapshot(&mut self, handle: &KvHandle, position: usize, slot: StateSlot, decodes: bool) {
        let page_len = self.page_len();
        let lease = self.leases.get_mut(handle);
        if !position.is_multiple_of(page_len) || position / page_len > lease.n_published {
            return;
        }
        let page = lease.table.pages()[position / page_len - 1];
        if self.snapshot_of(page).is_some() || self.states.page_of(slot).is_some() {
            return;
        }
        self.states.attach(slot, page);
        if decodes {
            self.trail_snapshot(handle, position);
        }
    }

    /// Demotes decoding's previous snapshot in favour of a new one at `position`.
    fn trail_snapshot(&mut self, handle: &KvHandle, position: usize) {
        let page_len = self.page_len();
        let lease = self.leases.get_mut(handle);
        let last = std::mem::replace(&mut lease.trail, position).checked_sub(1);
        let page = last.map(|last| lease.table.pages()[last / page_len]);
        if let Some(snapshot) = page.and_then(|page| self.snapshot_of(page)) {
            self.states.demote(snapshot);
        }
    }

    /// The state after an indexed page, if the page or a duplicate of it has a snapshot.
    pub(super) fn snapshot_of(&self, page: PageId) -> Option<StateSlot> {
        let of_duplicates = || {
            let end = self.index.end_of(page)?;
            self.index.with_content(end).find_map(|page| self.states.snapshot(page))
        };
        self.states.snapshot(page).or_else(of_duplicates)
    }

    /// Number of positions, of the first `len` in `pages`, up to the last snapshot.
    pub(super) fn len_with_snapshot(&self, pages: &[PageId], len: usize) -> usize {
        let n_pages = pages.len().min(len / self.page_len());
        let has_snapshot = |page: &PageId| self.snapshot_of(*page).is_some();
        pages[..n_pages].iter().rposition(has_snapshot).map_or(0, |index| (index + 1) * self.page_len())
    }

    /// Rolls back to the last of the first `len` positions with a known state, makes that state the current one, and
    /// returns the position. A step that was reserved but not committed may have overwritten the current state.
    pub(super) fn rewind_state(&mut self, handle: &KvHandle, len: usize) -> usize {
        let written = self.leases.get(handle).step.written;
        let is_lost = written.is_some_and(|written| written.in_place);
        self.drop_step_states(handle);
        let lease = self.leases.get(handle);
        let computed = lease.table.computed();
        if len >= computed && !is_lost && lease.table.state().is_some() {
            return computed;
        }
        let pages = &lease.table.pages()[..lease.n_published];
        let len = self.len_with_snapshot(pages, len.min(computed));
        let last = (len / self.page_len()).checked_sub(1);
        let state = last.and_then(|last| self.snapshot_of(pages[last]));
        if let Some(state) = state {
            self.states.pin(state);
        }
        if let Some(before) = self.leases.get_mut(handle).table.replace_state(state) {
            self.states.unpin(before, self.clock);
        }
        len
    }
}
