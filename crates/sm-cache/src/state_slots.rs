//! The state slots of a pool: which are free, who refers to the others, and which of them are snapshots.
//!
//! A model whose layers keep a recurrent state (short convolutions, delta nets, state spaces) leaves a state of fixed size
//! behind each position. It cannot be cut back to an earlier position as a page table can, so copies are kept where going
//! back or sharing is likely. A slot is referred to by
//!
//! * **leases** (pins): their current state, and what they write in the present step;
//! * **sessions**: the state at the end of an idle conversation;
//! * a **snapshot**: the slot holds the state after the last position of an indexed page.
//!
//! One slot can have several of these at once. A sequence that stops at the end of a page shares its current state with
//! the snapshot, and forks share their parent's; nothing is copied, because a step writes to another slot than the one it
//! reads unless the lease is the only one that refers to it.

use sm_tensor::{PageId, StateSlot};

use crate::allocator::Recency;
use crate::list::IndexList;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    pins: u32,
    session_refs: u32,
    /// The page whose snapshot this is.
    page: Option<PageId>,
    /// When it was last used, in ticks of the cache.
    used: u64,
}

impl Slot {
    fn is_unused(&self) -> bool {
        self.pins == 0 && self.session_refs == 0 && self.page.is_none()
    }

    fn is_evictable(&self) -> bool {
        self.pins == 0 && self.session_refs == 0 && self.page.is_some()
    }
}

/// How many refer to a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotRefs {
    /// Leases.
    pub(crate) pins: u32,
    /// Idle sessions.
    pub(crate) session_refs: u32,
}

/// All state slots of a pool; none if the model keeps no state.
#[derive(Debug)]
pub(crate) struct StateSlots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// The slots that are snapshots and nothing else, least recently used first.
    evictable: IndexList,
    /// The snapshot of each page; empty if there are no slots.
    snapshots: Vec<Option<StateSlot>>,
    n_pinned: usize,
    n_snapshots: usize,
}

impl StateSlots {
    /// `n_slots` free slots beside `n_pages` pages.
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

    /// Whether the pool has no slots: the model keeps no state.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Slots that are not free.
    pub(crate) fn n_used(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Slots that leases refer to.
    pub(crate) fn n_pinned(&self) -> usize {
        self.n_pinned
    }

    /// Slots that leases can still take, once sessions and snapshots are evicted.
    pub(crate) fn n_available(&self) -> usize {
        self.slots.len() - self.n_pinned
    }

    /// Pages that have a snapshot.
    pub(crate) fn n_snapshots(&self) -> usize {
        self.n_snapshots
    }

    /// Who refers to a slot, besides a snapshot.
    pub(crate) fn refs(&self, slot: StateSlot) -> SlotRefs {
        let Slot { pins, session_refs, .. } = self.slots[slot.0 as usize];
        SlotRefs { pins, session_refs }
    }

    /// Whether a slot is a snapshot and nothing else: evicting it frees it.
    pub(crate) fn is_evictable(&self, slot: StateSlot) -> bool {
        self.slots[slot.0 as usize].is_evictable()
    }

    /// The page whose snapshot a slot is.
    pub(crate) fn page_of(&self, slot: StateSlot) -> Option<PageId> {
        self.slots[slot.0 as usize].page
    }

    /// The snapshot that is attached to this very page.
    pub(crate) fn snapshot(&self, page: PageId) -> Option<StateSlot> {
        self.snapshots.get(page.0 as usize).copied().flatten()
    }

    /// All snapshots with their pages, in the order of the slots.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = (StateSlot, PageId)> {
        let numbered = self.slots.iter().enumerate();
        numbered.filter_map(|(slot, entry)| Some((StateSlot(slot as u32), entry.page?)))
    }

    /// The free slots.
    pub(crate) fn free(&self) -> impl Iterator<Item = StateSlot> {
        self.free.iter().copied().map(StateSlot)
    }

    /// Snapshots that nobody reads, least recently used first.
    pub(crate) fn evictable(&self) -> impl Iterator<Item = StateSlot> {
        self.evictable.iter().map(StateSlot)
    }

    /// The least recently used snapshot that nobody reads, and when it was used.
    pub(crate) fn oldest_evictable(&self) -> Option<(StateSlot, u64)> {
        self.evictable.front().map(|slot| (StateSlot(slot), self.slots[slot as usize].used))
    }

    /// Pins a free slot, if there is one.
    pub(crate) fn take_free(&mut self) -> Option<StateSlot> {
        let slot = StateSlot(self.free.pop()?);
        self.slots[slot.0 as usize].pins = 1;
        self.n_pinned += 1;
        Some(slot)
    }

    /// Adds a lease's reference to a slot in use.
    pub(crate) fn pin(&mut self, slot: StateSlot) {
        self.keep(slot);
        let entry = &mut self.slots[slot.0 as usize];
        entry.pins += 1;
        self.n_pinned += usize::from(entry.pins == 1);
    }

    /// Drops a lease's reference at time `now`; a slot that nobody refers to any more is free.
    pub(crate) fn unpin(&mut self, slot: StateSlot, now: u64) {
        let entry = &mut self.slots[slot.0 as usize];
        entry.pins -= 1;
        entry.used = now;
        self.n_pinned -= usize::from(entry.pins == 0);
        self.retire(slot, Recency::Newest);
    }

    /// Adds an idle session's reference to a slot in use.
    pub(crate) fn add_session_ref(&mut self, slot: StateSlot) {
        self.keep(slot);
        self.slots[slot.0 as usize].session_refs += 1;
    }

    /// Drops an idle session's reference.
    pub(crate) fn drop_session_ref(&mut self, slot: StateSlot, recency: Recency) {
        self.slots[slot.0 as usize].session_refs -= 1;
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

    /// Makes the snapshot of a page that of another page, which has none.
    pub(crate) fn move_snapshot(&mut self, from: PageId, to: PageId) {
        debug_assert!(self.snapshot(to).is_none(), "page {} has a snapshot", to.0);
        if let Some(slot) = self.snapshots[from.0 as usize].take() {
            self.slots[slot.0 as usize].page = Some(to);
            self.snapshots[to.0 as usize] = Some(slot);
        }
    }

    /// Takes the snapshot from a page, if it has one. The slot is free unless others refer to it.
    pub(crate) fn detach(&mut self, page: PageId) -> Option<StateSlot> {
        let slot = self.snapshots.get_mut(page.0 as usize)?.take()?;
        self.keep(slot);
        self.slots[slot.0 as usize].page = None;
        self.n_snapshots -= 1;
        self.retire(slot, Recency::Newest);
        Some(slot)
    }

    /// Makes the snapshot of a page the first to be evicted, if nobody reads it.
    pub(crate) fn demote(&mut self, page: PageId) {
        if let Some(slot) = self.snapshot(page).filter(|slot| self.evictable.contains(slot.0)) {
            self.evictable.remove(slot.0);
            self.evictable.push_front(slot.0);
            self.slots[slot.0 as usize].used = 0;
        }
    }

    /// Takes a slot off the list of those that may be evicted.
    fn keep(&mut self, slot: StateSlot) {
        if self.evictable.contains(slot.0) {
            self.evictable.remove(slot.0);
        }
    }

    /// Files a slot that may have lost its last reference.
    fn retire(&mut self, slot: StateSlot, recency: Recency) {
        let entry = self.slots[slot.0 as usize];
        if entry.is_unused() {
            self.free.push(slot.0);
        } else if entry.is_evictable() {
            match recency {
                Recency::Newest => self.evictable.push_back(slot.0),
                Recency::Oldest => self.evictable.push_front(slot.0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_when_the_last_reference_is_gone() {
        let mut slots = StateSlots::new(2, 4);
        let slot = slots.take_free().unwrap();
        slots.attach(slot, PageId(3));
        slots.add_session_ref(slot);
        slots.unpin(slot, 5);
        assert_eq!((slots.n_used(), slots.n_available(), slots.oldest_evictable()), (1, 2, None));
        slots.drop_session_ref(slot, Recency::Newest);
        assert_eq!(slots.oldest_evictable(), Some((slot, 5)));
        slots.pin(slot);
        assert_eq!(slots.oldest_evictable(), None, "a lease reads it");
        slots.unpin(slot, 6);
        slots.move_snapshot(PageId(3), PageId(1));
        assert_eq!((slots.snapshot(PageId(3)), slots.snapshot(PageId(1))), (None, Some(slot)));
        assert_eq!(slots.detach(PageId(1)), Some(slot));
        assert_eq!((slots.n_used(), slots.n_snapshots(), slots.evictable().count()), (0, 0, 0));
    }

    #[test]
    fn a_pool_without_slots_keeps_nothing_per_page() {
        let mut slots = StateSlots::new(0, 1000);
        assert!(slots.is_empty() && slots.snapshots.is_empty());
        assert_eq!(
            (slots.snapshot(PageId(7)), slots.detach(PageId(7)), slots.take_free()),
            (None, None, None)
        );
    }
}
