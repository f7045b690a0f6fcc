//! Leasing: allocates pages to running sequences.
//!
//! A lease starts with the longest computed prefix, from the prefix index or from the session it serves. Each step reserves
//! pages for its rows. A shared, partially written page is copied first (copy-on-write as in PagedAttention,
//! <https://arxiv.org/abs/2309.06180>); full pages are never written again, so sharing them needs no copy.

use sm_tensor::{PageId, TokenId};

use super::KvCache;
use crate::error::CacheError;
use crate::lease::KvHandle;
use crate::list::Recency;
use crate::namespace::Namespace;
use crate::session::Turn;

/// Whether a sequence counts as a hit or a miss in the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// New: counts.
    New,
    /// Resuming after preemption: does not count, because finding its own pages again saves no work.
    Resumed,
}

/// Who a lease serves.
#[derive(Clone, Copy, Debug)]
pub enum LeaseOwner<'a> {
    /// A request without a session.
    Request(&'a Namespace),
    /// A call on a session.
    Turn(&'a Turn),
}

/// The arguments of [`KvCache::lease`].
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest<'a> {
    /// Who it serves.
    pub owner: LeaseOwner<'a>,
    /// All tokens known so far, including those to be computed.
    pub tokens: &'a [TokenId],
    /// Maximum length of the sequence. Only sizes its page table, so that growing does not allocate.
    pub max_len: usize,
    /// Whether it counts as a hit or a miss.
    pub arrival: Arrival,
}

impl KvCache {
    /// Leases the pages of the longest computed proper prefix of the tokens: the last token must be computed for its
    /// logits. If the pool has states, the prefix ends where the state is known. Takes no new memory.
    pub fn lease(&mut self, request: &LeaseRequest<'_>) -> KvHandle {
        self.tick();
        let (namespace, session) = match request.owner {
            LeaseOwner::Request(namespace) => (self.index.enter(namespace), None),
            LeaseOwner::Turn(turn) => {
                let namespace = self.sessions.get(turn.session).namespace;
                self.index.retain(namespace);
                (namespace, Some(turn.session))
            }
        };
        let handle = self.leases.insert(namespace, session);
        let n_matched = self.match_prefix(namespace, request.tokens);
        let n_shared = self.scratch.len() * self.page_len();
        let n_own = session.map_or(0, |session| self.reusable_len(session, request.tokens.len()));
        if n_own > n_shared {
            self.take_session_pages(&handle, n_own);
        } else {
            self.take_matched_pages(&handle, n_shared);
        }
        let n_pages = self.pages_for(request.max_len).min(self.max_pages());
        let lease = self.leases.get_mut(&handle);
        lease.table.reserve(n_pages);
        lease.branch = n_matched;
        lease.unconfirmed = (request.arrival == Arrival::New).then_some(lease.table.computed());
        handle
    }

    /// Fills `scratch` with the indexed pages that a lease on `tokens` can start with. Returns the number of positions in
    /// all matching indexed pages, with or without a state.
    fn match_prefix(&mut self, namespace: u32, tokens: &[TokenId]) -> usize {
        self.scratch.clear();
        if self.config.shares() {
            self.scratch.extend(self.index.longest_prefix(namespace, tokens));
        }
        let n_matched = self.scratch.len() * self.page_len();
        if self.is_stateful() {
            let n_usable = self.len_with_snapshot(&self.scratch, n_matched);
            self.scratch.truncate(n_usable / self.page_len());
        }
        n_matched
    }

    /// Positions reusable from a session's own pages for a call with `n_tokens` tokens of context.
    fn reusable_len(&self, session: u32, n_tokens: usize) -> usize {
        let session = self.sessions.get(session);
        let n_common = session.call.map_or(0, |call| call.n_common);
        let computed = session.table.computed();
        let len = computed.min(n_common).min(n_tokens.saturating_sub(1));
        if self.is_stateful() && len < computed {
            self.len_with_snapshot(session.table.pages(), len)
        } else {
            len
        }
    }

    fn take_matched_pages(&mut self, handle: &KvHandle, n_shared: usize) {
        for page in &self.scratch {
            self.allocator.pin(*page);
        }
        let last = self.scratch.last().filter(|_| self.is_stateful());
        let state = last.and_then(|page| self.snapshot_of(*page));
        if let Some(state) = state {
            self.states.pin(state);
        }
        let lease = self.leases.get_mut(handle);
        self.scratch.iter().for_each(|page| lease.table.append(*page));
        lease.table.advance(n_shared);
        lease.table.replace_state(state);
        lease.n_published = self.scratch.len();
        if let Some(session) = lease.session {
            self.drop_session_pages(session);
        }
    }

    fn take_session_pages(&mut self, handle: &KvHandle, n_own: usize) {
        let Some(session) = self.leases.get(handle).session else {
            return;
        };
        let table = self.sessions.take_table(session);
        for page in table.pages() {
            self.allocator.pin(*page);
            self.allocator.drop_session_ref(*page);
        }
        if let Some(state) = table.state() {
            self.states.pin(state);
            self.states.drop_session_ref(state, Recency::Newest);
        }
        let n_published = table.pages().iter().take_while(|page| self.index.contains(**page)).count();
        let lease = self.leases.get_mut(handle);
        lease.table = table;
        lease.n_published = n_published;
        self.shrink(handle, n_own);
    }

    /// The pages of a sequence, in position order, including reserved ones.
    pub fn pages(&self, handle: &KvHandle) -> &[PageId] {
        self.leases.get(handle).table.pages()
    }

    /// Computed positions of a sequence.
    pub fn computed(&self, handle: &KvHandle) -> usize {
        self.leases.get(handle).table.computed()
    }

    /// Makes positions up to `len` writable. A partially written page that others share or could find is replaced; the
    /// copies the executor must make before the step are appended to `copies` in order, as (from, to).
    ///
    /// # Errors
    /// All or nothing: [`CacheError::OutOfPages`] says how many pages others must release first;
    /// [`CacheError::ResourceLimit`] means that the sequence can never have that many.
    pub fn reserve(
        &mut self,
        handle: &KvHandle,
        len: usize,
        copies: &mut Vec<(PageId, PageId)>,
    ) -> Result<(), CacheError> {
        let n_pages = self.pages_for(len);
        self.check_limits(handle, len, n_pages)?;
        let lease = self.leases.get(handle);
        let computed = lease.table.computed();
        let is_begun = !computed.is_multiple_of(self.page_len()) && len > computed;
        let begun = is_begun.then_some(computed / self.page_len());
        // A page shared only with idle sessions stops being shared when they are evicted, so it needs no second page.
        let is_shared = begun.is_some_and(|index| {
            let refs = self.allocator.refs(lease.table.pages()[index]);
            refs.pins > 1
        });
        let n_needed = n_pages.saturating_sub(lease.table.pages().len()) + usize::from(is_shared);
        let n_available = self.n_available();
        if n_needed > n_available {
            return Err(CacheError::OutOfPages { needed: n_needed, missing: n_needed - n_available });
        }
        self.tick();
        while self.leases.get(handle).table.pages().len() < n_pages
            && let Some(page) = self.take_page()
        {
            self.leases.get_mut(handle).table.append(page);
        }
        debug_assert!(
            n_pages <= self.pages(handle).len(),
            "{n_needed} of {n_available} pages were available"
        );
        if let Some(index) = begun {
            self.make_writable(handle, index, copies);
        }
        Ok(())
    }

    fn check_limits(&mut self, handle: &KvHandle, len: usize, n_pages: usize) -> Result<(), CacheError> {
        if let Some(session) = self.leases.get(handle).session {
            let session = &self.sessions.get(session).id;
            let within = self.budget.check_session(len);
            within.inspect_err(|error| self.observers.on_error(session, error))?;
        }
        self.budget.check_total(n_pages)
    }

    /// Makes the lease the only user of a partially written page. If others could find the page, copies it while there is
    /// room, because later pages are only found through it.
    fn make_writable(&mut self, handle: &KvHandle, index: usize, copies: &mut Vec<(PageId, PageId)>) {
        let from = self.pages(handle)[index];
        if self.allocator.refs(from).total() == 1 && !self.index.contains(from) {
            return;
        }
        if let Some(to) = self.take_page() {
            self.leases.get_mut(handle).table.replace(index, to);
            copies.push((from, to));
            self.stats.copied_pages += 1;
            self.unpin(from);
        } else {
            // Taking a page has evicted all idle sessions, so this lease is the only user.
            let parent = self.index.parent_of(from);
            self.unindex(from);
            self.prune(parent, None);
        }
    }

    /// Forks a sequence. Both share pages and state: whichever writes to a shared page first copies it, and whichever runs
    /// a step writes its state to another slot.
    pub fn fork(&mut self, handle: &KvHandle) -> KvHandle {
        self.tick();
        let parent = self.leases.get(handle);
        let namespace = parent.namespace;
        let session = parent.session;
        self.index.retain(namespace);
        let fork = self.leases.insert(namespace, session);
        let mut table = std::mem::take(&mut self.leases.get_mut(&fork).table);
        let parent = self.leases.get(handle);
        let n_published = parent.n_published;
        table.fork_from(&parent.table, self.budget.pages_for(parent.table.computed()));
        table.pages().iter().for_each(|page| self.allocator.pin(*page));
        if let Some(state) = table.state() {
            self.states.pin(state);
        }
        let lease = self.leases.get_mut(&fork);
        lease.table = table;
        lease.n_published = n_published;
        fork
    }

    /// Ends the lease of a finished, cancelled or preempted sequence. Full pages stay cached until their memory is needed.
    #[expect(clippy::needless_pass_by_value, reason = "the handle ends here")]
    pub fn release(&mut self, handle: KvHandle) {
        self.truncate(&handle, 0);
        self.end(&handle);
    }

    /// Ends a lease without pages.
    pub(super) fn end(&mut self, handle: &KvHandle) {
        self.index.leave(self.leases.get(handle).namespace);
        self.leases.remove(handle);
    }
}
