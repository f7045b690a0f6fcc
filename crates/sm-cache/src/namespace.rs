//! What two requests must have in common before they may share pages.

use std::collections::HashMap;

/// Everything but the tokens that decides what is in a page. Requests share pages only within one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Namespace {
    /// The fingerprint of weights, build and kernels, under which equal tokens give equal bits.
    pub model: String,
    /// How keys and values are stored.
    pub kv_dtype: String,
    /// The adapter applied to the weights; empty for none.
    pub adapter: String,
    /// A secret of those who want to share with nobody else; empty for all others.
    pub salt: String,
}

impl Namespace {
    /// The fields in an order that files may rely on.
    pub(crate) fn fields(&self) -> [&str; 4] {
        [&self.model, &self.kv_dtype, &self.adapter, &self.salt]
    }
}

#[derive(Debug)]
struct Slot {
    namespace: Namespace,
    n_users: usize,
}

/// The namespaces in use, numbered; numbers of those that nobody uses are given to others.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_name: HashMap<Namespace, u32>,
}

impl Namespaces {
    /// The number of a namespace in use.
    pub(crate) fn find(&self, namespace: &Namespace) -> Option<u32> {
        self.by_name.get(namespace).copied()
    }

    /// The namespace of a number in use.
    pub(crate) fn get(&self, slot: u32) -> &Namespace {
        &self.slots[slot as usize].namespace
    }

    /// Users of a number.
    pub(crate) fn n_users(&self, slot: u32) -> usize {
        self.slots.get(slot as usize).map_or(0, |slot| slot.n_users)
    }

    /// Numbers a namespace, for one more user; says whether the number is new.
    pub(crate) fn intern(&mut self, namespace: &Namespace) -> (u32, bool) {
        if let Some(slot) = self.find(namespace) {
            self.retain(slot);
            return (slot, false);
        }
        let new = Slot { namespace: namespace.clone(), n_users: 1 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = new;
                slot
            }
            None => {
                self.slots.push(new);
                (self.slots.len() - 1) as u32
            }
        };
        self.by_name.insert(namespace.clone(), slot);
        (slot, true)
    }

    /// Counts one more user.
    pub(crate) fn retain(&mut self, slot: u32) {
        self.slots[slot as usize].n_users += 1;
    }

    /// Counts one user less.
    pub(crate) fn release(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        entry.n_users -= 1;
        if entry.n_users == 0 {
            self.by_name.remove(&entry.namespace);
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused_when_the_last_user_leaves() {
        let of = |salt: &str| Namespace { salt: salt.into(), ..Namespace::default() };
        let mut namespaces = Namespaces::default();
        assert_eq!(namespaces.intern(&of("a")), (0, true));
        assert_eq!(namespaces.intern(&of("a")), (0, false));
        assert_eq!(namespaces.intern(&of("b")), (1, true));
        namespaces.release(0);
        assert_eq!(namespaces.find(&of("a")), Some(0));
        namespaces.release(0);
        assert_eq!(namespaces.find(&of("a")), None);
        assert_eq!(namespaces.intern(&of("c")), (0, true));
        assert_eq!(namespaces.get(0), &of("c"));
    }
}
