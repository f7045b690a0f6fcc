//! Maps records to file slots and picks the one to replace.
//!
//! Replacement is CLOCK (second chance, F. Corbató 1968): a hand sweeps the slots and replaces the first record not used
//! since its last pass.
//!
//! ```text
//! slots   [a·] [b ] [c·] [d ]      · used since the last turn
//!                ▲ hand            the next victim is b; then c loses its mark, and d goes
//! ```
//!
//! It approximates LRU without updating a list on every hit, and its state need not be stored: after a restart the hand
//! starts at the oldest write.

use std::collections::HashMap;

use sm_cache::PageKey;

/// The slots of a file.
#[derive(Debug)]
pub(super) struct Slots {
    by_key: HashMap<PageKey, u32>,
    /// Slots ever used.
    slots: Vec<Slot>,
    /// Indices of empty slots.
    free: Vec<u32>,
    max: u32,
    /// The slot under the hand.
    hand: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: Option<PageKey>,
    is_used: bool,
}

impl Slots {
    /// `max` slots, at least one, initially holding `stored`: per slot, the record's key and write number.
    pub(super) fn new(max: u32, stored: &[Option<(PageKey, u64)>]) -> Self {
        let mut slots = Self { by_key: HashMap::new(), slots: Vec::new(), free: Vec::new(), max, hand: 0 };
        slots.slots.resize(stored.len(), Slot::default());
        let mut oldest = u64::MAX;
        for (slot, stored) in (0..).zip(stored) {
            match *stored {
                // Drop duplicates.
                Some((key, number)) if !slots.by_key.contains_key(&key) => {
                    slots.put(slot, key);
                    if number < oldest {
                        (oldest, slots.hand) = (number, slot);
                    }
                }
                _ => slots.free.push(slot),
            }
        }
        slots
    }

    /// Number of stored records.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Capacity in records.
    pub(super) fn max(&self) -> usize {
        self.max as usize
    }

    /// The slot of a record, if stored; marks it as used.
    pub(super) fn find(&mut self, key: PageKey) -> Option<u32> {
        let slot = *self.by_key.get(&key)?;
        self.slots[slot as usize].is_used = true;
        Some(slot)
    }

    /// Whether a record is stored.
    pub(super) fn contains(&self, key: PageKey) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Assigns a slot to a new record, evicting the one there.
    pub(super) fn take(&mut self, key: PageKey) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.max as usize => {
                self.slots.push(Slot::default());
                (self.slots.len() - 1) as u32
            }
            None => self.next_victim(),
        };
        if let Some(old) = self.slots[slot as usize].key {
            self.by_key.remove(&old);
        }
        self.put(slot, key);
        slot
    }

    /// Removes a record, if it is still in this slot.
    pub(super) fn forget(&mut self, slot: u32, key: PageKey) {
        if self.by_key.get(&key) == Some(&slot) {
            self.by_key.remove(&key);
            self.slots[slot as usize] = Slot::default();
            self.free.push(slot);
        }
    }

    fn put(&mut self, slot: u32, key: PageKey) {
        self.slots[slot as usize] = Slot { key: Some(key), is_used: false };
        self.by_key.insert(key, slot);
    }

    fn next_victim(&mut self) -> u32 {
        loop {
            let slot = self.hand;
            self.hand = (self.hand + 1) % self.max;
            if !std::mem::take(&mut self.slots[slot as usize].is_used) {
                return slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_replaced_unless_it_was_used() {
        let mut slots = Slots::new(3, &[]);
        assert_eq!([1, 2, 3].map(|key| slots.take(PageKey(key))), [0, 1, 2]);
        assert_eq!(slots.find(PageKey(1)), Some(0));
        assert_eq!(slots.take(PageKey(4)), 1);
        assert_eq!([1, 2, 3, 4].map(|key| slots.contains(PageKey(key))), [true, false, true, true]);
        assert_eq!(slots.take(PageKey(5)), 2);
        assert_eq!(slots.take(PageKey(6)), 0, "spared once only");
        assert_eq!(slots.len(), 3);
    }

    #[test]
    fn a_forgotten_page_s_slot_is_taken_first() {
        let mut slots = Slots::new(3, &[]);
        slots.take(PageKey(1));
        slots.take(PageKey(2));
        slots.forget(0, PageKey(9));
        slots.forget(1, PageKey(1));
        assert_eq!(slots.len(), 2, "neither page was in that slot");
        slots.forget(0, PageKey(1));
        assert_eq!((slots.take(PageKey(3)), slots.take(PageKey(4))), (0, 2));
    }

    #[test]
    fn what_was_stored_is_found_again_and_goes_in_the_order_it_was_written() {
        let stored = |key, number| Some((PageKey(key), number));
        let mut slots = Slots::new(4, &[stored(1, 12), stored(2, 10), None, stored(2, 11)]);
        assert_eq!((slots.find(PageKey(1)), slots.find(PageKey(2)), slots.len()), (Some(0), Some(1), 2));
        let mut slots = Slots::new(3, &[stored(1, 12), stored(2, 10), stored(3, 11)]);
        assert_eq!([4, 5, 6].map(|key| slots.take(PageKey(key))), [1, 2, 0]);
    }
}
