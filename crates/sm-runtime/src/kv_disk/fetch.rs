//! Fetches a queued request's pages from disk into the cache.

use sm_batching::{PrefetchRequest, SequenceId};
use sm_cache::{Arrival, KvCache, KvHandle, LeaseOwner, LeaseRequest, Namespace};
use sm_kernels::plan::PAGE_LEN;
use sm_tensor::TokenId;

use super::record::{RecordKind, RecordName};

/// A queued request's pages that are being read.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) number: u64,
    pub(super) id: SequenceId,
    namespace: Namespace,
    /// The tokens up to the end of the last page, plus one.
    tokens: Vec<TokenId>,
    /// Pages before the first one to read.
    n_before: usize,
    pub(super) names: Vec<RecordName>,
    /// The state after the last page.
    pub(super) state: FetchedState,
    n_asked: usize,
    n_installed: usize,
    /// With states, held until the last page has its snapshot: pages without one are useless and would be dropped.
    lease: Option<KvHandle>,
    /// Other requests waiting for the same pages.
    pub(super) followers: Vec<SequenceId>,
}

/// The state after the last page of a fetch.
#[derive(Debug)]
pub(super) enum FetchedState {
    /// The model has none.
    None,
    /// It is read before the pages, so that it is available when the last page arrives.
    Wanted,
    /// It has been read into this buffer.
    Read(Vec<u8>),
}

/// Whether the cache has room for a page that was read.
pub(super) enum Room {
    /// Reserved.
    Reserved(Destination),
    /// The page has been computed in the meantime.
    Known,
    /// There is no room, or the preceding pages are gone.
    None,
}

/// Destination of a page that was read.
pub(super) struct Destination {
    pub(super) lease: KvHandle,
    pub(super) page_index: usize,
    /// Positions up to the end of the page.
    pub(super) len: usize,
    /// Whether the state after the page is installed too.
    pub(super) has_state: bool,
}

impl Fetch {
    /// Fetches the pages `names` that follow the first `n_before` pages of a request.
    pub(super) fn new(
        number: u64,
        request: &PrefetchRequest<'_>,
        n_before: usize,
        names: Vec<RecordName>,
        state: FetchedState,
    ) -> Self {
        let end = (n_before + names.len()) * PAGE_LEN;
        Self {
            number,
            id: request.id,
            namespace: request.namespace.clone(),
            tokens: request.tokens[..=end].to_vec(),
            n_before,
            names,
            state,
            n_asked: 0,
            n_installed: 0,
            lease: None,
            followers: Vec::new(),
        }
    }

    /// The next record to request, if any is left.
    pub(super) fn next_read(&self) -> Option<(RecordKind, RecordName)> {
        match (&self.state, self.n_asked) {
            (FetchedState::None, n_asked) => Some((RecordKind::Page, *self.names.get(n_asked)?)),
            (_, 0) => Some((RecordKind::State, *self.names.last()?)),
            (_, n_asked) => Some((RecordKind::Page, *self.names.get(n_asked - 1)?)),
        }
    }

    /// Marks it as requested.
    pub(super) fn advance(&mut self) {
        self.n_asked += 1;
    }

    /// Whether all pages are in the cache.
    pub(super) fn is_complete(&self) -> bool {
        self.n_installed == self.names.len()
    }

    /// Reserves room in the cache for the next page.
    pub(super) fn reserve_next(&mut self, cache: &mut KvCache) -> Room {
        let page_index = self.n_before + self.n_installed;
        let start = page_index * PAGE_LEN;
        let len = start + PAGE_LEN;
        let is_stateful = self.is_stateful();
        // Without states, a lease per page pins nothing while the disk is slow.
        let end = if is_stateful { (self.n_before + self.names.len()) * PAGE_LEN } else { len };
        let lease = self.lease.take().unwrap_or_else(|| {
            let owner = LeaseOwner::Request(&self.namespace);
            let tokens = &self.tokens[..=end];
            cache.lease(&LeaseRequest { owner, tokens, max_len: end, arrival: Arrival::Resumed })
        });
        let computed = cache.computed(&lease);
        if computed == start && cache.reserve(&lease, len, &mut Vec::new()).is_ok() {
            let has_state = is_stateful && len == end;
            return Room::Reserved(Destination { lease, page_index, len, has_state });
        }
        cache.release(lease);
        if computed == len && !is_stateful {
            self.n_installed += 1;
            return Room::Known;
        }
        Room::None
    }

    fn is_stateful(&self) -> bool {
        !matches!(self.state, FetchedState::None)
    }

    /// Registers the page in the cache once it has been written to its destination.
    pub(super) fn commit(&mut self, destination: Destination, cache: &mut KvCache) {
        let Destination { lease, len, .. } = destination;
        cache.commit_restored(&lease, &self.tokens[..=len], len);
        self.n_installed += 1;
        if self.is_stateful() {
            self.lease = Some(lease);
        } else {
            cache.release(lease);
        }
    }

    /// Releases its lease in the cache.
    pub(super) fn release(&mut self, cache: &mut KvCache) {
        if let Some(lease) = self.lease.take() {
            cache.release(lease);
        }
    }
}
