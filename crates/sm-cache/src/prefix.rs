//! The prefix index: finds the pages that hold the start of a prompt.
//!
//! A full page is known by a keyed hash of its tokens and of all that come before them. The hash finds; it decides
//! nothing: a page counts as found only if its tokens are equal and its predecessor is the page's own predecessor, so a
//! collision costs a miss and never gives one request the keys and values of another. Keys are the same in every process
//! that uses the same hash key, so pages can be kept in files.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use sm_tensor::{PageId, StateSlot, TokenId};

use crate::namespace::{Namespace, Namespaces};

/// Stands for no page.
const NONE: u32 = u32::MAX;

/// Names the content of a page: a keyed hash of the namespace and of all tokens up to the page's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageKey(pub u128);

impl fmt::Display for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Makes page keys: SipHash-2-4 with 128 bits of output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHasher {
    hash_key: [u8; 16],
}

impl KeyHasher {
    pub(crate) fn new(hash_key: [u8; 16]) -> Self {
        Self { hash_key }
    }

    /// What comes before the first page.
    pub(crate) fn root(self, namespace: &Namespace) -> PageKey {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        for field in namespace.fields() {
            hasher.write(&(field.len() as u64).to_le_bytes());
            hasher.write(field.as_bytes());
        }
        PageKey(hasher.finish128().as_u128())
    }

    /// The page with `tokens` that follows `parent`.
    pub(crate) fn child(self, parent: PageKey, tokens: &[TokenId]) -> PageKey {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        hasher.write(&parent.0.to_le_bytes());
        for token in tokens {
            hasher.write(&token.0.to_le_bytes());
        }
        PageKey(hasher.finish128().as_u128())
    }
}

/// A run of full pages from the start of a sequence, known by where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChainEnd {
    /// The key of the last page.
    pub(crate) key: PageKey,
    /// A number for exactly these tokens in this namespace, never used for others.
    content: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    parent: ChainEnd,
    end: ChainEnd,
    namespace: u32,
    /// Indexed pages that follow this content; counted only if the pool has states.
    n_children: u32,
    /// Neighbours among the pages with the same key.
    previous: u32,
    next: u32,
}

/// A full page that the index knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedPage<'a> {
    /// Where it is.
    pub page: PageId,
    /// What is in it.
    pub key: PageKey,
    /// What comes before it.
    pub parent: PageKey,
    /// `[page_len]`: its own tokens.
    pub tokens: &'a [TokenId],
    /// Where the state after it is, if it has a snapshot.
    pub snapshot: Option<StateSlot>,
}

/// The full pages whose content is known.
#[derive(Debug)]
pub(crate) struct PrefixIndex {
    page_len: usize,
    hasher: KeyHasher,
    /// The first page with a key.
    heads: HashMap<PageKey, u32>,
    entries: Vec<Option<Entry>>,
    /// `[n_pages, page_len]`
    tokens: Vec<TokenId>,
    next_content: u64,
    namespaces: Namespaces,
    /// The start of each numbered namespace's chains.
    roots: Vec<ChainEnd>,
    counts_children: bool,
}

impl PrefixIndex {
    /// Knows none of `n_pages` pages.
    pub(crate) fn new(n_pages: usize, page_len: usize, hash_key: [u8; 16]) -> Self {
        Self {
            counts_children: false,
            page_len,
            hasher: KeyHasher::new(hash_key),
            // Twice the need, so that the table never grows while requests run.
            heads: HashMap::with_capacity(2 * n_pages),
            entries: vec![None; n_pages],
            tokens: vec![TokenId(0); n_pages * page_len],
            next_content: 0,
            namespaces: Namespaces::default(),
            roots: Vec::new(),
        }
    }

    /// Counts the pages that follow each page, from the first page on.
    pub(crate) fn counting_children(self) -> Self {
        Self { counts_children: true, ..self }
    }

    /// How keys are made.
    pub(crate) fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// The namespaces of leases, sessions and indexed pages.
    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Numbers a namespace for one more user.
    pub(crate) fn enter(&mut self, namespace: &Namespace) -> u32 {
        let (slot, new) = self.namespaces.intern(namespace);
        if new {
            let root = ChainEnd { key: self.hasher.root(namespace), content: self.new_content() };
            match self.roots.get_mut(slot as usize) {
                Some(place) => *place = root,
                None => self.roots.push(root),
            }
        }
        slot
    }

    /// Counts one more user of a numbered namespace.
    pub(crate) fn retain(&mut self, namespace: u32) {
        self.namespaces.retain(namespace);
    }

    /// Counts one user less of a numbered namespace.
    pub(crate) fn leave(&mut self, namespace: u32) {
        self.namespaces.release(namespace);
    }

    fn new_content(&mut self) -> u64 {
        self.next_content += 1;
        self.next_content
    }

    /// The chain of no pages.
    pub(crate) fn root(&self, namespace: u32) -> ChainEnd {
        self.roots[namespace as usize]
    }

    /// The chain that ends with `page`, if the page is indexed.
    pub(crate) fn end_of(&self, page: PageId) -> Option<ChainEnd> {
        self.entries[page.0 as usize].map(|entry| entry.end)
    }

    /// Whether the page is indexed.
    pub(crate) fn contains(&self, page: PageId) -> bool {
        self.entries[page.0 as usize].is_some()
    }

    /// An indexed page as others see it.
    pub(crate) fn get(&self, page: PageId) -> Option<CachedPage<'_>> {
        let entry = self.entries[page.0 as usize]?;
        let tokens = self.tokens_of(page.0);
        Some(CachedPage { page, key: entry.end.key, parent: entry.parent.key, tokens, snapshot: None })
    }

    /// The number of the namespace of an indexed page.
    pub(crate) fn namespace_of(&self, page: PageId) -> Option<u32> {
        self.entries[page.0 as usize].map(|entry| entry.namespace)
    }

    /// The chain before an indexed page.
    pub(crate) fn parent_of(&self, page: PageId) -> Option<ChainEnd> {
        self.entries[page.0 as usize].map(|entry| entry.parent)
    }

    /// Indexed pages that follow the content of an indexed page.
    pub(crate) fn n_children(&self, page: PageId) -> usize {
        self.entries[page.0 as usize].map_or(0, |entry| entry.n_children as usize)
    }

    /// All pages that end this chain: equal contents, computed more than once.
    pub(crate) fn with_content(&self, end: ChainEnd) -> impl Iterator<Item = PageId> {
        let pages = self.with_key(end.key).filter(move |(_, entry)| entry.end.content == end.content);
        pages.map(|(page, _)| PageId(page))
    }

    fn change_children(&mut self, parent: ChainEnd, change: impl Fn(u32) -> u32) {
        let mut next = self.heads.get(&parent.key).copied().unwrap_or(NONE);
        while let Some(Some(entry)) = self.entries.get_mut(next as usize) {
            if entry.end.content == parent.content {
                entry.n_children = change(entry.n_children);
            }
            next = entry.next;
        }
    }

    fn tokens_of(&self, page: u32) -> &[TokenId] {
        &self.tokens[page as usize * self.page_len..][..self.page_len]
    }

    fn with_key(&self, key: PageKey) -> impl Iterator<Item = (u32, Entry)> {
        let entry = |page: u32| self.entries.get(page as usize).copied().flatten().map(|entry| (page, entry));
        let head = self.heads.get(&key).copied().unwrap_or(NONE);
        std::iter::successors(entry(head), move |(_, last)| entry(last.next))
    }

    /// The page with `tokens` that follows `parent`.
    fn child(&self, parent: ChainEnd, tokens: &[TokenId]) -> Option<(PageId, ChainEnd)> {
        let key = self.hasher.child(parent.key, tokens);
        self.with_key(key)
            .find(|(page, entry)| entry.parent.content == parent.content && self.tokens_of(*page) == tokens)
            .map(|(page, entry)| (PageId(page), entry.end))
    }

    /// The pages of the longest indexed prefix of `tokens` that leaves at least one token to compute.
    pub(crate) fn longest_prefix(&self, namespace: u32, tokens: &[TokenId]) -> impl Iterator<Item = PageId> {
        let mut end = self.root(namespace);
        let usable = &tokens[..tokens.len().saturating_sub(1)];
        usable.chunks_exact(self.page_len).map_while(move |tokens| {
            let (page, next) = self.child(end, tokens)?;
            end = next;
            Some(page)
        })
    }

    /// Indexes a page that holds `tokens` and follows `parent`; gives the chain that ends with it.
    pub(crate) fn insert(
        &mut self,
        page: PageId,
        namespace: u32,
        parent: ChainEnd,
        tokens: &[TokenId],
    ) -> ChainEnd {
        debug_assert!(!self.contains(page), "page {} is indexed", page.0);
        let (end, n_children) = match self.child(parent, tokens) {
            Some((duplicate, end)) => (end, self.n_children(duplicate) as u32),
            None => (ChainEnd { key: self.hasher.child(parent.key, tokens), content: self.new_content() }, 0),
        };
        self.tokens[page.0 as usize * self.page_len..][..self.page_len].copy_from_slice(tokens);
        // Behind the head, so that the first page found stays the same.
        let head = *self.heads.entry(end.key).or_insert(page.0);
        let (previous, next) = match head == page.0 {
            true => (NONE, NONE),
            false => (head, self.entries[head as usize].map_or(NONE, |entry| entry.next)),
        };
        self.entries[page.0 as usize] = Some(Entry { parent, end, namespace, n_children, previous, next });
        self.link(previous, |entry| entry.next = page.0);
        self.link(next, |entry| entry.previous = page.0);
        self.namespaces.retain(namespace);
        if self.counts_children {
            self.change_children(parent, |n| n + 1);
        }
        end
    }

    fn link(&mut self, page: u32, change: impl FnOnce(&mut Entry)) {
        if let Some(Some(entry)) = self.entries.get_mut(page as usize) {
            change(entry);
        }
    }

    /// Forgets a page, if it is indexed.
    pub(crate) fn remove(&mut self, page: PageId) {
        let Some(entry) = self.entries[page.0 as usize].take() else {
            return;
        };
        let Entry { parent, end, namespace, previous, next, .. } = entry;
        self.link(previous, |entry| entry.next = next);
        self.link(next, |entry| entry.previous = previous);
        match (previous, next) {
            (NONE, NONE) => drop(self.heads.remove(&end.key)),
            (NONE, next) => drop(self.heads.insert(end.key, next)),
            _ => {}
        }
        self.namespaces.release(namespace);
        if self.counts_children {
            self.change_children(parent, |n| n - 1);
        }
    }

    /// Another page with the same content.
    pub(crate) fn twin(&self, page: PageId) -> Option<PageId> {
        self.with_content(self.end_of(page)?).find(|other| *other != page)
    }
}

#[cfg(test)]
mod tests;
