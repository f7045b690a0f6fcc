//! The prefix index: finds cached pages for the beginning of a prompt.
//!
//! A flat hash table from [`PageKey`]s to pages, walked from the root until a key is missing:
//!
//! ```text
//! root ─ tokens 0..16 ─► key ─► page 5
//!                         └─ tokens 16..32 ─► key ─► page 3
//!                                              └─ tokens 32..48 ─► key ─► (none: compute from here)
//! ```
//!
//! The hash only finds candidates. A page matches only if its tokens and its predecessor's identity are equal, so a
//! collision costs a miss but never exposes another request's keys and values.
//!
//! The rejected alternative is a radix tree over tokens, as in SGLang (RadixAttention, <https://arxiv.org/abs/2312.07104>).
//! It matches down to a single token, but only whole pages can be shared without copying. At that granularity a hash table
//! finds the same prefixes without splitting nodes, and its keys also identify pages on disk.

use std::collections::HashMap;

use sm_tensor::{PageId, StateSlot, TokenId};

use crate::namespace::{Namespace, Namespaces};
use crate::page_key::{KeyHasher, PageKey};

/// Marks the absence of a page.
const NONE: u32 = u32::MAX;

/// A run of full pages from the start of a sequence, identified by its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ChainEnd {
    /// The key of the last page.
    pub(crate) key: PageKey,
    /// Unique to these tokens in this namespace while a page with them is indexed.
    content: u64,
}

#[derive(Clone, Copy, Debug)]
struct IndexedPage {
    parent: ChainEnd,
    end: ChainEnd,
    namespace: u32,
    /// Number of indexed pages whose parent is this content. Only counted if the pool has states.
    n_children: u32,
    /// Links to pages with the same key.
    previous: u32,
    next: u32,
}

/// An indexed page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedPage<'a> {
    /// The page.
    pub page: PageId,
    /// The key of its content.
    pub key: PageKey,
    /// The key of the preceding page; of the first page of a sequence, that of its namespace.
    pub parent: PageKey,
    /// Whether it is the first page of its sequence.
    pub is_first: bool,
    /// `[page_len]`: its tokens.
    pub tokens: &'a [TokenId],
    /// The state after its last position, if it has a snapshot.
    pub snapshot: Option<StateSlot>,
}

/// The full pages with known content.
#[derive(Debug)]
pub(crate) struct PrefixIndex {
    page_len: usize,
    hasher: KeyHasher,
    /// The first page with a key; the others follow as a linked list.
    heads: HashMap<PageKey, u32>,
    pages: Vec<Option<IndexedPage>>,
    /// `[n_pages, page_len]`
    tokens: Vec<TokenId>,
    next_content: u64,
    namespaces: Namespaces,
    /// By namespace: the start of its chains.
    roots: Vec<ChainEnd>,
    counts_children: bool,
}

impl PrefixIndex {
    /// An empty index for `n_pages` pages.
    pub(crate) fn new(n_pages: usize, page_len: usize, hash_key: [u8; 16]) -> Self {
        Self {
            page_len,
            hasher: KeyHasher::new(hash_key),
            // Twice the need, so that the table never grows at run time.
            heads: HashMap::with_capacity(2 * n_pages),
            pages: vec![None; n_pages],
            tokens: vec![TokenId(0); n_pages * page_len],
            next_content: 0,
            namespaces: Namespaces::default(),
            roots: Vec::new(),
            counts_children: false,
        }
    }

    /// Enables child counts, for [`PrefixIndex::n_children`].
    pub(crate) fn counting_children(self) -> Self {
        Self { counts_children: true, ..self }
    }

    /// The hasher of the keys.
    pub(crate) fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// The namespaces of leases, sessions and indexed pages.
    pub(crate) fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Interns a namespace for one more user.
    pub(crate) fn enter(&mut self, namespace: &Namespace) -> u32 {
        let (id, is_new) = self.namespaces.intern(namespace);
        if is_new {
            let root = ChainEnd { key: self.hasher.root(namespace), content: self.new_content() };
            match self.roots.get_mut(id as usize) {
                Some(place) => *place = root,
                None => self.roots.push(root),
            }
        }
        id
    }

    /// Adds a user of a namespace.
    pub(crate) fn retain(&mut self, namespace: u32) {
        self.namespaces.retain(namespace);
    }

    /// Removes a user of a namespace.
    pub(crate) fn leave(&mut self, namespace: u32) {
        self.namespaces.release(namespace);
    }

    fn new_content(&mut self) -> u64 {
        self.next_content += 1;
        self.next_content
    }

    /// The empty chain of a namespace.
    pub(crate) fn root(&self, namespace: u32) -> ChainEnd {
        self.roots[namespace as usize]
    }

    /// The chain that an indexed page ends.
    pub(crate) fn end_of(&self, page: PageId) -> Option<ChainEnd> {
        self.pages[page.0 as usize].map(|indexed| indexed.end)
    }

    /// The chain before an indexed page.
    pub(crate) fn parent_of(&self, page: PageId) -> Option<ChainEnd> {
        self.pages[page.0 as usize].map(|indexed| indexed.parent)
    }

    /// Whether the page is indexed.
    pub(crate) fn contains(&self, page: PageId) -> bool {
        self.pages[page.0 as usize].is_some()
    }

    /// Whether a lookup can arrive at an indexed page: it is the first of its sequence, or its predecessor is indexed too.
    pub(crate) fn is_reachable(&self, page: PageId) -> bool {
        self.pages[page.0 as usize].is_none_or(|IndexedPage { parent, namespace, .. }| {
            parent == self.root(namespace) || self.with_content(parent).next().is_some()
        })
    }

    /// An indexed page, without its snapshot.
    pub(crate) fn get(&self, page: PageId) -> Option<CachedPage<'_>> {
        let indexed = self.pages[page.0 as usize]?;
        let IndexedPage { parent, end, namespace, .. } = indexed;
        let tokens = self.tokens_of(page);
        let is_first = parent == self.root(namespace);
        Some(CachedPage { page, key: end.key, parent: parent.key, is_first, tokens, snapshot: None })
    }

    /// The namespace of an indexed page.
    pub(crate) fn namespace_of(&self, page: PageId) -> Option<u32> {
        self.pages[page.0 as usize].map(|indexed| indexed.namespace)
    }

    /// Indexed pages that follow the content of an indexed page.
    pub(crate) fn n_children(&self, page: PageId) -> usize {
        self.pages[page.0 as usize].map_or(0, |indexed| indexed.n_children as usize)
    }

    fn tokens_of(&self, page: PageId) -> &[TokenId] {
        &self.tokens[page.0 as usize * self.page_len..][..self.page_len]
    }

    fn with_key(&self, key: PageKey) -> impl Iterator<Item = (PageId, IndexedPage)> {
        let get = |page: u32| Some((PageId(page), self.pages.get(page as usize).copied().flatten()?));
        let head = self.heads.get(&key).copied().unwrap_or(NONE);
        std::iter::successors(get(head), move |(_, last)| get(last.next))
    }

    /// All pages that end a chain: duplicates of equal content.
    pub(crate) fn with_content(&self, end: ChainEnd) -> impl Iterator<Item = PageId> {
        let pages = self.with_key(end.key).filter(move |(_, indexed)| indexed.end.content == end.content);
        pages.map(|(page, _)| page)
    }

    /// Another page with the same content.
    pub(crate) fn duplicate(&self, page: PageId) -> Option<PageId> {
        self.with_content(self.end_of(page)?).find(|other| *other != page)
    }

    /// The page with `tokens` that follows `parent`.
    fn child(&self, parent: ChainEnd, tokens: &[TokenId]) -> Option<(PageId, ChainEnd)> {
        let key = self.hasher.child(parent.key, tokens);
        self.with_key(key)
            .find(|(page, indexed)| {
                indexed.parent.content == parent.content && self.tokens_of(*page) == tokens
            })
            .map(|(page, indexed)| (page, indexed.end))
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

    /// Indexes a page that holds `tokens` and follows `parent`. Returns the chain it ends.
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
        // Insert after the head, so that lookups keep finding the page that others already share.
        let head = *self.heads.entry(end.key).or_insert(page.0);
        let (previous, next) = match head == page.0 {
            true => (NONE, NONE),
            false => (head, self.pages[head as usize].map_or(NONE, |indexed| indexed.next)),
        };
        self.pages[page.0 as usize] =
            Some(IndexedPage { parent, end, namespace, n_children, previous, next });
        self.link(previous, |indexed| indexed.next = page.0);
        self.link(next, |indexed| indexed.previous = page.0);
        self.namespaces.retain(namespace);
        if self.counts_children {
            self.change_children(parent, |n| n + 1);
        }
        end
    }

    fn link(&mut self, page: u32, change: impl FnOnce(&mut IndexedPage)) {
        if let Some(Some(indexed)) = self.pages.get_mut(page as usize) {
            change(indexed);
        }
    }

    fn change_children(&mut self, parent: ChainEnd, change: impl Fn(u32) -> u32) {
        let mut next = self.heads.get(&parent.key).copied().unwrap_or(NONE);
        while let Some(Some(indexed)) = self.pages.get_mut(next as usize) {
            if indexed.end.content == parent.content {
                indexed.n_children = change(indexed.n_children);
            }
            next = indexed.next;
        }
    }

    /// Removes a page, if it is indexed.
    pub(crate) fn remove(&mut self, page: PageId) {
        let Some(indexed) = self.pages[page.0 as usize].take() else {
            return;
        };
        let IndexedPage { parent, end, namespace, previous, next, .. } = indexed;
        self.link(previous, |indexed| indexed.next = next);
        self.link(next, |indexed| indexed.previous = previous);
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
}

#[cfg(test)]
mod tests;
