//! Leases: the pages that a running sequence holds.

use sm_tensor::{PageId, TokenId};

use super::states::StepStates;
use super::{KvCache, Turn};
use crate::allocator::Recency;
use crate::budget::Budget;
use crate::error::CacheError;
use crate::event::{CacheEvent, Observers};
use crate::namespace::Namespace;
use crate::page_table::PageTable;
use crate::prefix::PageKey;
use crate::session::SessionId;

/// The right to the pages of one sequence.
///
/// It cannot be copied, and its pages are in use until it is moved back into [`KvCache::release`] or
/// [`KvCache::end_turn`]; [`KvCache::check_leases`] finds those that were lost.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the pages stay in use until the handle is released"]
pub struct KvHandle {
    pub(crate) slot: u32,
}

/// Whether a sequence is counted as a hit or a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arrival {
    /// It begins.
    New,
    /// It was preempted and goes on: what it finds again is no work saved.
    Resumed,
}

/// For whom a lease is.
#[derive(Clone, Copy, Debug)]
pub enum LeaseOwner<'a> {
    /// A request without a session.
    Request(&'a Namespace),
    /// A call on a session.
    Turn(&'a Turn),
}

/// What a new lease is for.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest<'a> {
    /// For whom it is.
    pub owner: LeaseOwner<'a>,
    /// All tokens known so far, those to be computed included.
    pub tokens: &'a [TokenId],
    /// Positions that the sequence may reach; only makes room in lists, so that growing up to there allocates nothing.
    pub max_len: usize,
    /// Whether it begins or goes on.
    pub arrival: Arrival,
}

#[derive(Debug, Default)]
pub(crate) struct Lease {
    pub(crate) table: PageTable,
    pub(crate) namespace: u32,
    pub(crate) session: Option<u32>,
    /// Full pages, from the first, whose content is in the index.
    pub(crate) n_published: usize,
    /// The states that its present step writes, if the pool has states.
    pub(crate) step: StepStates,
    /// Positions that some earlier request had in common with this one, where it could not begin for want of a state.
    pub(crate) branch: usize,
    /// Positions before the last snapshot that decoding left.
    pub(crate) trail: usize,
    /// Positions found computed, until it is certain that their computation was skipped.
    unconfirmed: Option<usize>,
    pub(crate) is_live: bool,
}

/// All leases, numbered; a dead one keeps its lists for the next.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    slots: Vec<Lease>,
    free: Vec<u32>,
}

impl Leases {
    /// Number of leases.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The live leases with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Lease)> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, lease)| lease.is_live)
            .map(|(slot, lease)| (slot as u32, lease))
    }

    fn insert(&mut self, namespace: u32, session: Option<u32>) -> KvHandle {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Lease::default());
            (self.slots.len() - 1) as u32
        });
        let Lease { table, step, .. } = std::mem::take(&mut self.slots[slot as usize]);
        let lease = Lease { table, step, namespace, session, is_live: true, ..Lease::default() };
        self.slots[slot as usize] = lease;
        KvHandle { slot }
    }

    pub(super) fn get(&self, handle: &KvHandle) -> &Lease {
        &self.slots[handle.slot as usize]
    }

    pub(super) fn get_mut(&mut self, handle: &KvHandle) -> &mut Lease {
        &mut self.slots[handle.slot as usize]
    }

    /// Makes the leases of a session, whose call ends, those of plain requests.
    pub(super) fn leave_session(&mut self, session: u32) {
        for lease in &mut self.slots {
            lease.session = lease.session.filter(|own| *own != session);
        }
    }

    /// Ends a lease; its table is empty or not needed any more.
    pub(super) fn remove(&mut self, handle: &KvHandle) {
        self.get_mut(handle).is_live = false;
        self.free.push(handle.slot);
    }
}

impl KvCache {
    /// Leases the pages of the longest prefix of the tokens that is computed already, but never of all tokens: one has to
    /// be computed for its logits. Takes no new page.
    pub fn lease(&mut self, request: &LeaseRequest<'_>) -> KvHandle {
        self.tick();
        let (namespace, session) = match request.owner {
            LeaseOwner::Request(namespace) => (self.index.enter(namespace), None),
            LeaseOwner::Turn(turn) => {
                let namespace = self.sessions.get(turn.slot).namespace;
                self.index.retain(namespace);
                (namespace, Some(turn.slot))
            }
        };
        let handle = self.leases.insert(namespace, session);
        self.found.clear();
        if self.config.shares() {
            self.found.extend(self.index.longest_prefix(namespace, request.tokens));
        }
        let n_matched = self.found.len() * self.page_len();
        if self.is_stateful() {
            let n_shared = self.len_with_snapshot(&self.found, n_matched);
            self.found.truncate(n_shared / self.page_len());
        }
        let n_shared = self.found.len() * self.page_len();
        let n_own = session.map_or(0, |session| self.reusable_len(session, request.tokens.len()));
        if n_own > n_shared {
            self.take_session_pages(&handle, n_own);
        } else {
            self.take_found_pages(&handle, n_shared);
        }
        let n_pages = self.pages_for(request.max_len).min(self.max_pages());
        let lease = self.leases.get_mut(&handle);
        lease.table.reserve(n_pages);
        lease.branch = n_matched;
        lease.unconfirmed = (request.arrival == Arrival::New).then_some(lease.table.computed());
        handle
    }

    /// Positions that a session's own pages save a call whose context has `n_tokens` tokens.
    fn reusable_len(&self, session: u32, n_tokens: usize) -> usize {
        let session = self.sessions.get(session);
        let kept = session.call.map_or(0, |call| call.kept);
        let len = session.table.computed().min(kept).min(n_tokens.saturating_sub(1));
        if self.is_stateful() && len < session.table.computed() {
            return self.len_with_snapshot(session.table.pages(), len);
        }
        len
    }

    fn take_found_pages(&mut self, handle: &KvHandle, n_shared: usize) {
        for page in &self.found {
            self.allocator.pin(*page);
        }
        let state = self.found.last().filter(|_| self.is_stateful()).and_then(|page| self.snapshot_of(*page));
        if let Some(state) = state {
            self.states.pin(state);
        }
        let lease = self.leases.get_mut(handle);
        lease.table.set_state(state);
        self.found.iter().for_each(|page| lease.table.append(*page));
        lease.table.advance(n_shared);
        lease.n_published = self.found.len();
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
            self.allocator.unhold(*page);
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

    /// The pages of a sequence, in the order of their positions; those reserved included.
    pub fn pages(&self, handle: &KvHandle) -> &[PageId] {
        self.leases.get(handle).table.pages()
    }

    /// Positions of a sequence that are computed.
    pub fn computed(&self, handle: &KvHandle) -> usize {
        self.leases.get(handle).table.computed()
    }

    /// Makes sure that positions up to `len` can be written. A page that is written in part and that others share, or
    /// could, is replaced, and `copies` gets what the executor must copy before the step, in order: (from, to).
    ///
    /// # Errors
    /// All or nothing: [`CacheError::OutOfPages`] tells how many pages others must give back first, and
    /// [`CacheError::ResourceLimit`] that the sequence can never have so many.
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
        let begun = match computed % self.page_len() {
            0 => None,
            _ if len <= computed => None,
            _ => Some(computed / self.page_len()),
        };
        let shared = begun.map(|index| lease.table.pages()[index]).filter(|page| self.is_shared(*page));
        // A page that only sessions share becomes ours when they give way, and counts as one that can be had.
        let n_needed = n_pages.saturating_sub(lease.table.pages().len())
            + usize::from(shared.is_some_and(|page| self.allocator.refs(page).0 > 1));
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
            check_session(&self.budget, &mut self.observers, session, len)?;
        }
        self.budget.check_total(n_pages)
    }

    pub(super) fn is_shared(&self, page: PageId) -> bool {
        let (pins, holds) = self.allocator.refs(page);
        pins + holds > 1
    }

    /// Makes the page at `index`, which is written in part, the sequence's own. What others can find is kept while there is
    /// room, for pages that follow it can only be found through it.
    fn make_writable(&mut self, handle: &KvHandle, index: usize, copies: &mut Vec<(PageId, PageId)>) {
        let from = self.leases.get(handle).table.pages()[index];
        if !self.is_shared(from) && !self.index.contains(from) {
            return;
        }
        if let Some(to) = self.take_page() {
            self.leases.get_mut(handle).table.replace(index, to);
            copies.push((from, to));
            self.stats.copied_pages += 1;
            self.unpin(from);
        } else {
            // Nobody else holds it: an idle session that did has given way.
            let parent = self.index.parent_of(from);
            self.unindex(from);
            self.prune(parent, None);
        }
    }

    /// Notes that positions up to `computed` are computed, of a sequence whose tokens are `token_ids`; its full pages can be
    /// found by others from now on. Tokens that may still be rejected must not be among them.
    ///
    /// # Panics
    /// If the positions are not reserved, or fewer than before, or have no tokens; or if the pool has states and the one after
    /// `computed` positions was not reserved.
    pub fn commit(&mut self, handle: &KvHandle, token_ids: &[TokenId], computed: usize) {
        let lease = self.leases.get(handle);
        let has_state = !self.is_stateful() || lease.step.written.is_some();
        assert!(has_state || computed == lease.table.computed(), "no state was reserved for the step");
        let n_new = self.advance(handle, token_ids, computed);
        self.stats.computed_tokens += n_new as u64;
        let lease = self.leases.get_mut(handle);
        match lease.unconfirmed.take() {
            None => {}
            Some(0) => self.stats.misses += 1,
            Some(n_reused) => {
                self.stats.hits += 1;
                self.stats.reused_tokens += n_reused as u64;
            }
        }
    }

    /// As [`KvCache::commit`] for positions whose pages were not computed but read back from elsewhere.
    ///
    /// If the pool has states, and one was not read back into the slot of [`KvCache::reserve_restored_state`], no sequence can
    /// continue from here; the lease can only restore further pages, or end. Pages that are restored up to one with a state
    /// stay, those behind it do not.
    ///
    /// # Panics
    /// As [`KvCache::commit`].
    pub fn commit_restored(&mut self, handle: &KvHandle, token_ids: &[TokenId], computed: usize) {
        let n_new = self.advance(handle, token_ids, computed);
        if let Some(n_reused) = &mut self.leases.get_mut(handle).unconfirmed {
            *n_reused += n_new;
        }
    }

    fn advance(&mut self, handle: &KvHandle, token_ids: &[TokenId], computed: usize) -> usize {
        let page_len = self.page_len();
        let lease = self.leases.get_mut(handle);
        let (before, n_pages) = (lease.table.computed(), lease.table.pages().len());
        assert!(
            before <= computed && computed <= token_ids.len(),
            "{computed} of {} after {before}",
            token_ids.len()
        );
        assert!(computed <= n_pages * page_len, "{computed} positions in {n_pages} pages of {page_len}");
        lease.table.advance(computed);
        if self.config.shares() {
            self.publish(handle, token_ids);
        }
        if self.is_stateful() && before < computed {
            self.settle_states(handle, computed);
        }
        computed - before
    }

    fn publish(&mut self, handle: &KvHandle, token_ids: &[TokenId]) {
        let page_len = self.page_len();
        let lease = self.leases.get_mut(handle);
        let pages = lease.table.pages();
        let mut end = match lease.n_published.checked_sub(1).and_then(|last| self.index.end_of(pages[last])) {
            Some(end) => end,
            None => self.index.root(lease.namespace),
        };
        for index in lease.n_published..lease.table.computed() / page_len {
            let tokens = &token_ids[index * page_len..][..page_len];
            end = self.index.insert(pages[index], lease.namespace, end, tokens);
            lease.n_published += 1;
        }
    }

    /// The key of the next page of a sequence, if the sequence stands at the start of a page and more tokens follow it:
    /// who has that page elsewhere can reserve it, fill it and call [`KvCache::commit_restored`].
    pub fn next_key(&self, handle: &KvHandle, token_ids: &[TokenId]) -> Option<PageKey> {
        let lease = self.leases.get(handle);
        let (page_len, computed) = (self.page_len(), lease.table.computed());
        if !self.config.shares()
            || !computed.is_multiple_of(page_len)
            || token_ids.len() <= computed + page_len
        {
            return None;
        }
        let end = match lease.n_published.checked_sub(1) {
            Some(last) => self.index.end_of(lease.table.pages()[last])?,
            None => self.index.root(lease.namespace),
        };
        Some(self.index.hasher().child(end.key, &token_ids[computed..][..page_len]))
    }

    /// Keeps at most `len` computed positions, and gives back all pages beyond them, those reserved included. Gives the
    /// positions that are left: fewer than `len` if the pool has states and the one after `len` positions is unknown. A step
    /// that was reserved and not committed may have lost the state that it began with, so this is also what a failed step needs.
    pub fn truncate(&mut self, handle: &KvHandle, len: usize) -> usize {
        self.tick();
        self.shrink(handle, len);
        self.keep_within_limit();
        self.computed(handle)
    }

    pub(super) fn shrink(&mut self, handle: &KvHandle, len: usize) {
        let page_len = self.page_len();
        let len = if self.is_stateful() { self.rewind_state(handle, len) } else { len };
        let lease = self.leases.get_mut(handle);
        let computed = lease.table.computed().min(len);
        let n_pages = computed.div_ceil(page_len);
        self.found.clear();
        self.found.extend(lease.table.truncate(computed, n_pages));
        lease.n_published = lease.n_published.min(computed / page_len);
        lease.unconfirmed = lease.unconfirmed.map(|n_reused| n_reused.min(computed));
        if lease.trail > computed {
            lease.trail = 0;
        }
        for index in 0..self.found.len() {
            self.unpin(self.found[index]);
        }
    }

    /// A second sequence that continues from what the first has computed. Pages are shared; a page that is written in part
    /// is copied when one of them writes to it. So is the state, which each of them reads and none overwrites.
    pub fn fork(&mut self, handle: &KvHandle) -> KvHandle {
        self.tick();
        let parent = self.leases.get(handle);
        let (namespace, session) = (parent.namespace, parent.session);
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

    /// Ends a lease: for a finished, cancelled or preempted sequence. Full pages stay findable until they are overwritten,
    /// the last of the sequence first.
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

/// Whether a session may hold `n_tokens` positions; tells the observers if not.
///
/// # Errors
/// The first limit that they exceed.
pub(super) fn check_session(
    budget: &Budget,
    observers: &mut Observers,
    session: &SessionId,
    n_tokens: usize,
) -> Result<(), CacheError> {
    budget.check_session(n_tokens).inspect_err(|error| {
        if let CacheError::ResourceLimit { resource, limit, actual } = *error {
            observers.on_event(&CacheEvent::BudgetExceeded {
                session,
                resource,
                current: actual,
                max: limit,
            });
        }
    })
}
