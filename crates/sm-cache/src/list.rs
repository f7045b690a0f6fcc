//! A doubly linked list over indices, for LRU orders. Links are in one array, so no operation allocates.

/// Marks the end of the list.
const NONE: u32 = u32::MAX;
/// The `previous` of an index that is not in the list.
const ABSENT: u32 = u32::MAX - 1;

/// Where an index enters an LRU list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recency {
    /// At the back, as the most recently used.
    Newest,
    /// At the front, first to be evicted.
    Oldest,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    previous: u32,
    next: u32,
}

/// An ordered subset of the indices below a capacity. All operations except iteration are O(1).
#[derive(Clone, Debug)]
pub(crate) struct IndexList {
    links: Vec<Links>,
    front: u32,
    back: u32,
    len: usize,
}

impl IndexList {
    /// An empty list for indices below `capacity`.
    pub(crate) fn new(capacity: usize) -> Self {
        let links = vec![Links { previous: ABSENT, next: NONE }; capacity];
        Self { links, front: NONE, back: NONE, len: 0 }
    }

    /// Raises the capacity by one.
    pub(crate) fn grow(&mut self) {
        self.links.push(Links { previous: ABSENT, next: NONE });
    }

    /// Number of indices in the list.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether `index` is in the list.
    pub(crate) fn contains(&self, index: u32) -> bool {
        self.links[index as usize].previous != ABSENT
    }

    /// The first index.
    pub(crate) fn front(&self) -> Option<u32> {
        (self.front != NONE).then_some(self.front)
    }

    /// Adds an index that is not in the list.
    pub(crate) fn push(&mut self, index: u32, recency: Recency) {
        match recency {
            Recency::Newest => self.push_back(index),
            Recency::Oldest => self.push_front(index),
        }
    }

    /// Appends an index that is not in the list.
    pub(crate) fn push_back(&mut self, index: u32) {
        debug_assert!(!self.contains(index), "{index} is in the list");
        self.links[index as usize] = Links { previous: self.back, next: NONE };
        match self.back {
            NONE => self.front = index,
            back => self.links[back as usize].next = index,
        }
        self.back = index;
        self.len += 1;
    }

    /// Prepends an index that is not in the list.
    pub(crate) fn push_front(&mut self, index: u32) {
        debug_assert!(!self.contains(index), "{index} is in the list");
        self.links[index as usize] = Links { previous: NONE, next: self.front };
        match self.front {
            NONE => self.back = index,
            front => self.links[front as usize].previous = index,
        }
        self.front = index;
        self.len += 1;
    }

    /// Removes an index that is in the list.
    pub(crate) fn remove(&mut self, index: u32) {
        debug_assert!(self.contains(index), "{index} is not in the list");
        let Links { previous, next } = self.links[index as usize];
        match previous {
            NONE => self.front = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.back = previous,
            next => self.links[next as usize].previous = previous,
        }
        self.links[index as usize] = Links { previous: ABSENT, next: NONE };
        self.len -= 1;
    }

    /// Removes an index if it is in the list.
    pub(crate) fn discard(&mut self, index: u32) {
        if self.contains(index) {
            self.remove(index);
        }
    }

    /// The indices in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        std::iter::successors(self.front(), |index| {
            let next = self.links[*index as usize].next;
            (next != NONE).then_some(next)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_plain_queue(ops in proptest::collection::vec((any::<bool>(), 0u32..8), 0..200)) {
            let mut list = IndexList::new(7);
            list.grow();
            let mut queue = VecDeque::new();
            for (back, index) in ops {
                if list.contains(index) {
                    list.discard(index);
                    list.discard(index);
                    queue.retain(|other| *other != index);
                } else if back {
                    list.push(index, Recency::Newest);
                    queue.push_back(index);
                } else {
                    list.push(index, Recency::Oldest);
                    queue.push_front(index);
                }
                prop_assert_eq!(list.iter().collect::<VecDeque<_>>(), queue.clone());
                prop_assert_eq!((list.len(), list.front()), (queue.len(), queue.front().copied()));
            }
        }
    }
}
