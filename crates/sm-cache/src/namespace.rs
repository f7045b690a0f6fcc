//! Namespaces: requests share pages only if everything but their tokens matches.

use std::collections::HashMap;

/// Everything besides the tokens that determines a page's content. Requests share pages only within a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Namespace {
    /// Fingerprint of weights, build and kernels: with equal fingerprints, equal tokens give equal bits.
    pub model: String,
    /// Data type of keys and values.
    pub kv_dtype: String,
    /// The LoRA adapter applied to the weights; empty for none.
    pub adapter: String,
    /// A secret that isolates a tenant's pages from all others; empty to share. Also prevents probing other tenants' cached
    /// prefixes by timing.
    pub salt: String,
}

impl Namespace {
    /// The fields in hashing order, on which keys in files depend.
    pub(crate) fn fields(&self) -> [&str; 4] {
        [&self.model, &self.kv_dtype, &self.adapter, &self.salt]
    }
}

#[derive(Debug)]
struct Interned {
    namespace: Namespace,
    n_users: usize,
}

/// Interned namespaces with use counts. Unused ids are recycled.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    interned: Vec<Interned>,
    free: Vec<u32>,
    by_name: HashMap<Namespace, u32>,
}

impl Namespaces {
    /// The id of a namespace, if it is interned.
    pub(crate) fn find(&self, namespace: &Namespace) -> Option<u32> {
        self.by_name.get(namespace).copied()
    }

    /// The namespace of an id.
    pub(crate) fn get(&self, id: u32) -> &Namespace {
        &self.interned[id as usize].namespace
    }

    /// The use count of an id.
    pub(crate) fn n_users(&self, id: u32) -> usize {
        self.interned.get(id as usize).map_or(0, |interned| interned.n_users)
    }

    /// Interns a namespace for one more user. Returns its id and whether it is new.
    pub(crate) fn intern(&mut self, namespace: &Namespace) -> (u32, bool) {
        if let Some(id) = self.find(namespace) {
            self.retain(id);
            return (id, false);
        }
        let new = Interned { namespace: namespace.clone(), n_users: 1 };
        let id = match self.free.pop() {
            Some(id) => {
                self.interned[id as usize] = new;
                id
            }
            None => {
                self.interned.push(new);
                (self.interned.len() - 1) as u32
            }
        };
        self.by_name.insert(namespace.clone(), id);
        (id, true)
    }

    /// Adds a user.
    pub(crate) fn retain(&mut self, id: u32) {
        self.interned[id as usize].n_users += 1;
    }

    /// Removes a user.
    pub(crate) fn release(&mut self, id: u32) {
        let interned = &mut self.interned[id as usize];
        interned.n_users -= 1;
        if interned.n_users == 0 {
            self.by_name.remove(&interned.namespace);
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_reused_when_their_last_user_leaves() {
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
