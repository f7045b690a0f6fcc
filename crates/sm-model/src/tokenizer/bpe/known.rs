//! The tokens of a vocabulary, found by their bytes.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// All tokens in one buffer, and a table of their places: some 12 bytes per token besides its text, where a map of strings takes
/// 80. The hash is seeded at random, so no file can choose tokens that collide.
pub(super) struct Known {
    bytes: Vec<u8>,
    ends: Vec<u32>,        // [n_tokens], where each token ends in `bytes`
    ids: Vec<u32>,         // [n_tokens]
    table: HashTable<u32>, // indices of tokens
    hasher: RandomState,
    longest: usize, // bytes of a token
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known")
            .field("n_tokens", &self.len())
            .field("longest", &self.longest)
            .finish_non_exhaustive()
    }
}

impl Known {
    /// A table of distinct tokens.
    pub(super) fn new(tokens: impl IntoIterator<Item = (Vec<u8>, u32)>) -> Self {
        let mut known = Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            ids: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::default(),
            longest: 0,
        };
        for (bytes, id) in tokens {
            // Of 4 GiB of text no vocabulary is made, which says so.
            let Ok(end) = u32::try_from(known.bytes.len() + bytes.len()) else { break };
            known.bytes.extend_from_slice(&bytes);
            known.ends.push(end);
            known.ids.push(id);
            known.longest = known.longest.max(bytes.len());
        }
        let mut table = HashTable::with_capacity(known.len());
        let hash_of = |idx: &u32| known.hasher.hash_one(known.token(*idx as usize));
        for idx in 0..known.len() as u32 {
            table.insert_unique(hash_of(&idx), idx, hash_of);
        }
        known.table = table;
        known
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The index and the id of the token with these bytes.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        if bytes.len() > self.longest {
            return None;
        }
        let hash = self.hasher.hash_one(bytes);
        let idx = *self.table.find(hash, |&idx| self.token(idx as usize) == bytes)? as usize;
        Some((idx, self.ids[idx]))
    }

    /// The bytes of all tokens.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|idx| self.token(idx))
    }

    fn token(&self, idx: usize) -> &[u8] {
        let start = if idx == 0 { 0 } else { self.ends[idx - 1] };
        &self.bytes[start as usize..self.ends[idx] as usize]
    }
}
