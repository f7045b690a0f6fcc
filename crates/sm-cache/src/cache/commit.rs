//! Commit: adds what a step computed to the sequence and publishes its full pages.
//!
//! Only accepted tokens are committed. A rejected draft never enters the index, so its pages can simply be dropped.

use sm_tensor::TokenId;

use super::KvCache;
use crate::event::CacheEvent;
use crate::lease::KvHandle;
use crate::page_key::PageKey;

impl KvCache {
    /// Records that positions up to `computed` are computed. `token_ids` are at least as many of the sequence's tokens,
    /// without any that may still be rejected. Publishes its full pages.
    ///
    /// # Panics
    /// If the positions are not reserved, are fewer than before, or have no tokens; or if the pool has states and the step
    /// did not keep the state after them.
    pub fn commit(&mut self, handle: &KvHandle, token_ids: &[TokenId], computed: usize) {
        let lease = self.leases.get(handle);
        let has_state = !self.is_stateful() || lease.step.written.is_some();
        assert!(has_state || computed == lease.table.computed(), "no state was reserved for the step");
        let n_new = self.advance(handle, token_ids, computed);
        self.stats.computed_tokens += n_new as u64;
        match self.leases.get_mut(handle).unconfirmed.take() {
            None => {}
            Some(0) => self.stats.misses += 1,
            Some(n_reused) => {
                self.stats.hits += 1;
                self.stats.reused_tokens += n_reused as u64;
            }
        }
    }

    /// Like [`KvCache::commit`], for positions whose pages were restored from elsewhere instead of computed.
    ///
    /// If the pool has states, also restore the state after the last page, into the slot of
    /// [`KvCache::reserve_restored_state`]. No sequence can continue from pages beyond it, so those are dropped when the
    /// lease ends.
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
        let before = lease.table.computed();
        let n_pages = lease.table.pages().len();
        assert!(
            before <= computed && computed <= token_ids.len(),
            "{computed} computed positions of {} after {before}",
            token_ids.len()
        );
        assert!(computed <= n_pages * page_len, "{computed} positions in {n_pages} pages of {page_len}");
        lease.table.advance(computed);
        if self.config.shares() {
            self.publish(handle, token_ids);
        }
        if self.is_stateful() && before < computed {
            self.commit_states(handle, computed);
        }
        computed - before
    }

    /// Indexes full pages not indexed yet.
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
            if !self.observers.is_empty()
                && self.index.duplicate(pages[index]).is_none()
                && let Some(stored) = self.index.get(pages[index])
            {
                self.observers.on_event(&CacheEvent::Stored(stored));
            }
        }
    }

    /// The key of a sequence's next page, if the sequence is at a page boundary and tokens follow that page. A caller that
    /// has the page elsewhere can reserve it, fill it and call [`KvCache::commit_restored`].
    pub fn next_key(&self, handle: &KvHandle, token_ids: &[TokenId]) -> Option<PageKey> {
        let lease = self.leases.get(handle);
        let page_len = self.page_len();
        let computed = lease.table.computed();
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

    /// Drops all computed positions beyond `len`, and all pages without computed positions, including reserved ones.
    /// Returns the remaining computed positions.
    ///
    /// If the pool has states, truncates to the last position, at most `len`, with a known state. After a step that was
    /// reserved but not committed, the state it read counts as lost if the step was to overwrite it. This is how a sequence
    /// recovers from a failed step.
    pub fn truncate(&mut self, handle: &KvHandle, len: usize) -> usize {
        self.tick();
        self.shrink(handle, len);
        self.keep_within_limit();
        self.computed(handle)
    }

    /// [`KvCache::truncate`] as part of another operation.
    pub(super) fn shrink(&mut self, handle: &KvHandle, len: usize) {
        let len = if self.is_stateful() { self.rewind_state(handle, len) } else { len };
        let page_len = self.page_len();
        let lease = self.leases.get_mut(handle);
        let computed = lease.table.computed().min(len);
        self.scratch.clear();
        self.scratch.extend(lease.table.truncate(computed, computed.div_ceil(page_len)));
        lease.n_published = lease.n_published.min(computed / page_len);
        lease.unconfirmed = lease.unconfirmed.map(|n_reused| n_reused.min(computed));
        if lease.trail > computed {
            lease.trail = 0;
        }
        for index in 0..self.scratch.len() {
            self.unpin(self.scratch[index]);
        }
    }
}
