//! State slots: reference counts, snapshots, and the eviction order of snapshots.
//!
//! Layers with a recurrent state (short convolution, delta net, state space) have a state of fixed size after each
//! position. Unlike a page table it cannot be truncated to an earlier position, so copies are kept where rollback or
//! sharing is likely. A slot is referenced by
//!
//! * **leases** (pins): their current state, and the states their step writes;
//! * idle **sessions**: the state at the end of a conversation;
//! * a **snapshot**: the slot holds the state after the last position of an indexed page.
//!
//! A slot can have all of these references at once. A sequence that stops at a page end shares its current state with the
//! snapshot, and forks share their parent's. Nothing is ever copied: a step writes in place only if its lease has the only
//! reference, otherwise to another slot.

use sm_tensor::{PageId, StateSlot};

use crate::list::{IndexList, Recency};

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    refs: SlotRefs,
    /// The page it is a snapshot of.
    page: Option<PageId>,
    /// Time of last use, in ticks of the cache.
    used: u64,
}

/// Reference counts of a slot, excluding its snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotRefs {
    /// By leases: must not be evicted.
    pub(crate) pins: u32,
    /// By idle sessions: may be evicted.
    pub(crate) sessions: u32,
}

impl Slot {
    fn is_free(&self) -> bool {
        self.refs == SlotRefs::default() && self.page.is_none()
    }

    fn is_evictable(&self) -> bool {
        self.refs == SlotRefs::default() && self.page.is_some()
    }
}

/// All state slots of a pool; none if the model has no recurrent state.
#[derive(Debug)]
pub(crate) struct StateSlots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots referenced only as snapshots, least recently used first.
    evictable: IndexList,
    /// The snapshot of each page; empty if there are no slots.
    snapshots: Vec<Option<StateSlot>>,
    n_pinned: usize,
    n_snapshots: usize,
}

impl StateSlots {
    /// `n_slots` free slots for a pool of `n_pages` pages.
    pub(crate) fn new(n_slots: u32, n_pages: usize) -> Self {
        let slots = vec![Slot::default(); n_slots as usize];
        Self {
            evictable: IndexList::new(slots.len()),
            snapshots: if slots.is_empty() { Vec::new() } else { vec![None; n_pages] },
            free: (0..n_slots).rev().collect(),
            slots,
            n_pinned: 0,
            n_snapshots: 0,
        }
    }

    /// Slots in the pool.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the model has no recurrent state.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Slots that are not free.
    pub(crate) fn n_used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots referenced by leases.
    pub(crate) fn n_pinned(&self) -> usize {
        self.n_pinned
    }

    /// Slots available to leases if everything else is evicted.
    pub(crate) fn n_available(&self) -> usize {
        self.slots.len() - self.n_pinned
    }

    /// Pages that have a snapshot.
    pub(crate) fn n_snapshots(&self) -> usize {
        self.n_snapshots
    }

    /// The reference counts of a slot.
    pub(crate) fn refs(&self, slot: StateSlot) -> SlotRefs {
        self.slots[slot.0 as usize].refs
    }

    /// Whether a slot is referenced only as a snapshot, so that evicting it frees it.
    pub(crate) fn is_evictable(&self, slot: StateSlot) -> bool {
        self.slots[slot.0 as usize].is_evictable()
    }

    /// The page a slot is a snapshot of.
    pub(crate) fn page_of(&self, slot: StateSlot) -> Option<PageId> {
        self.slots[slot.0 as usize].page
    }

    /// The snapshot attached to this page itself; a duplicate of the page may have one instead.
    pub(crate) fn snapshot(&self, page: PageId) -> Option<StateSlot> {
        self.snapshots.get(page.0 as usize).copied().flatten()
    }

    /// The pages with a snapshot, in slot order.
    pub(crate) fn pages_with_snapshot(&self) -> impl Iterator<Item = PageId> {
        self.slots.iter().filter_map(|slot| slot.page)
    }

    /// The free slots.
    pub(crate) fn free(&self) -> impl Iterator<Item = StateSlot> {
        self.free.iter().copied().map(StateSlot)
    }

    /// Slots that are snapshots and nothing else, least recently used first.
    pub(crate) fn evictable(&self) -> impl Iterator<Item = StateSlot> {
        self.evictable.iter().map(StateSlot)
    }

    /// The page of the least recently used evictable snapshot, and the snapshot's time of last use.
    pub(crate) fn oldest_evictable(&self) -> Option<(PageId, u64)> {
        let Slot { page, used, .. } = self.slots[self.evictable.front()? as usize];
        page.map(|page| (page, used))
    }

    /// Pins a free slot; `None` if there is none.
    pub(crate) fn take_free(&mut self) -> Option<StateSlot> {
        let slot = StateSlot(self.free.pop()?);
        self.pin(slot);
        Some(slot)
    }

    /// Adds a lease's reference.
    pub(crate) fn pin(&mut self, slot: StateSlot) {
        self.evictable.discard(slot.0);
        let pins = &mut self.slots[slot.0 as usize].refs.pins;
        *pins += 1;
        self.n_pinned += usize::from(*pins == 1);
    }

    /// Drops a lease's reference at time `now`. A slot without references becomes free.
    pub(crate) fn unpin(&mut self, slot: StateSlot, now: u64) {
        let entry = &mut self.slots[slot.0 as usize];
        entry.refs.pins -= 1;
        entry.used = now;
        self.n_pinned -= usize::from(entry.refs.pins == 0);
        self.retire(slot, Recency::Newest);
    }

    /// Adds an idle session's reference.
    pub(crate) fn add_session_ref(&mut self, slot: StateSlot) {
        self.evictable.discard(slot.0);
        self.slots[slot.0 as usize].refs.sessions += 1;
    }

    /// Drops an idle session's reference. A slot without references becomes free.
    pub(crate) fn drop_session_ref(&mut self, slot: StateSlot, recency: Recency) {
        self.slots[slot.0 as usize].refs.sessions -= 1;
        self.retire(slot, recency);
    }

    /// Makes a slot in use the snapshot of a page that has none.
    pub(crate) fn attach(&mut self, slot: StateSlot, page: PageId) {
        debug_assert!(self.page_of(slot).is_none(), "slot {} is the snapshot of another page", slot.0);
        debug_assert!(self.snapshot(page).is_none(), "page {} has a snapshot", page.0);
        self.slots[slot.0 as usize].page = Some(page);
        self.snapshots[page.0 as usize] = Some(slot);
        self.n_snapshots += 1;
    }

    /// Detaches a page's snapshot, if any. A slot without references becomes free.
    pub(crate) fn detach(&mut self, page: PageId) {
        let Some(slot) = self.snapshots.get_mut(page.0 as usize).and_then(Option::take) else {
            return;
        };
        self.evictable.discard(slot.0);
        self.slots[slot.0 as usize].page = None;
        self.n_snapshots -= 1;
        self.retire(slot, Recency::Newest);
    }

    /// Moves a page's snapshot to a duplicate that has none.
    pub(crate) fn move_snapshot(&mut self, from: PageId, to: PageId) {
        debug_assert!(self.snapshot(to).is_none(), "page {} has a snapshot", to.0);
        if let Some(slot) = self.snapshots[from.0 as usize].take() {
            self.slots[slot.0 as usize].page = Some(to);
            self.snapshots[to.0 as usize] = Some(slot);
        }
    }

    /// Makes a snapshot the first to be evicted, unless it has other references.
    pub(crate) fn demote(&mut self, slot: StateSlot) {
        if self.evictable.contains(slot.0) {
            self.evictable.remove(slot.0);
            self.evictable.push_front(slot.0);
            self.slots[slot.0 as usize].used = 0;
        }
    }

    /// Frees a slot or makes it evictable if it has lost its references.
    fn retire(&mut self, slot: StateSlot, recency: Recency) {
        let entry = self.slots[slot.0 as usize];
        if entry.is_free() {
            self.free.push(slot.0);
        } else if entry.is_evictable() {
            self.evictable.push(slot.0, recency);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_when_its_last_reference_is_gone() {
        let mut slots = StateSlots::new(2, 4);
        let slot = slots.take_free().unwrap();
        slots.attach(slot, PageId(3));
        slots.add_session_ref(slot);
        slots.unpin(slot, 5);
        assert_eq!((slots.n_used(), slots.n_available(), slots.oldest_evictable()), (1, 2, None));
        slots.drop_session_ref(slot, Recency::Newest);
        assert_eq!(slots.oldest_evictable(), Some((PageId(3), 5)));
        slots.pin(slot);
        assert_eq!(slots.oldest_evictable(), None, "a lease reads it");
        slots.unpin(slot, 6);
        slots.move_snapshot(PageId(3), PageId(1));
        assert_eq!((slots.snapshot(PageId(3)), slots.snapshot(PageId(1))), (None, Some(slot)));
        slots.detach(PageId(1));
        assert_eq!((slots.n_used(), slots.n_snapshots(), slots.evictable().count()), (0, 0, 0));
    }

    #[test]
    fn a_demoted_snapshot_is_evicted_first() {
        let mut slots = StateSlots::new(2, 2);
        for page in [0, 1].map(PageId) {
            let slot = slots.take_free().unwrap();
            slots.attach(slot, page);
            slots.unpin(slot, 7);
        }
        assert_eq!(slots.oldest_evictable(), Some((PageId(0), 7)));
        slots.demote(slots.snapshot(PageId(1)).unwrap());
        assert_eq!(slots.oldest_evictable(), Some((PageId(1), 0)));
    }

    #[test]
    fn a_pool_without_slots_stores_nothing_per_page() {
        let mut slots = StateSlots::new(0, 1000);
        slots.detach(PageId(7));
        assert!(slots.is_empty() && slots.snapshots.is_empty());
        assert_eq!((slots.snapshot(PageId(7)), slots.take_free()), (None, None));
    }
}
