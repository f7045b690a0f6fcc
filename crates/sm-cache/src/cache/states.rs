//! Recurrent states of sequences: what a step reads, writes and keeps, and where a sequence can go back to.
//!
//! A lease knows the state after its `computed` positions, and nothing about positions before, but where a page of it has a
//! snapshot. So whatever goes back (rejected drafts, trimmed text, a failed step) or starts in the middle (a shared prefix,
//! a resumed sequence) goes to the last position for which a state is known; what lies behind it is computed again. That
//! costs work and never changes an output.
//!
//! ```text
//! position   0        16        32        48    53  54  55  56
//! pages      [  page  ][  page  ][  page  ][  page ....
//! states              s         .         s     c   k   k   w
//!
//! s  snapshot: found by others through the prefix index
//! c  the lease's current state, which the step reads
//! k  kept: the state after a row that may turn out to be the last accepted one
//! w  written: the state after the last row; the slot of `c` if only this lease refers to it
//! ```
//!
//! **Which states become snapshots.** Of the page ends that the certain rows of a step cross, the last one does: a chunk of a
//! prompt leaves one, and decoding one per page. So does the point at which the tokens of an earlier request part from
//! those of this one, for requests that branch off there are likely to come again (SGLang's hybrid prefix cache does so).
//! A kept or written state at the end of a page needs no slot of its own to be a snapshot. A snapshot of its own is
//! taken if a slot can be had by evicting older ones; a state for each page end would cost as much memory as
//! attention over all positions, which is what such models avoid. For the same reason decoding trails one snapshot behind
//! it: when it leaves the next, the one before is the first to be evicted, so that a long answer does not cost others
//! the snapshots of their prompts.

use sm_tensor::{PageId, StateSlot};

use super::{KvCache, KvHandle};
use crate::error::CacheError;
use crate::event::{CacheEvent, EvictionReason, Victim};
use crate::prefix::CachedPage;

/// The state after some positions of a sequence, and where a step puts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptState {
    /// Positions before it.
    pub position: usize,
    /// Where it goes.
    pub slot: StateSlot,
}

/// What a step does with the states of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatePlan<'a> {
    /// The state before the first row; `None` for the zero state, before position 0.
    pub read: Option<StateSlot>,
    /// Where the state after the last row goes; may be the slot that is read.
    pub write: StateSlot,
    /// Where states after other rows go, in rising order of their positions.
    pub kept: &'a [KeptState],
}

/// The states that a lease's present step writes.
#[derive(Debug, Default)]
pub(crate) struct StepStates {
    pub(crate) written: Option<WrittenState>,
    /// Pinned by the lease.
    pub(crate) kept: Vec<KeptState>,
}

/// The state after the last row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenState {
    pub(crate) position: usize,
    /// Pinned by the lease once more, unless it is written in place.
    pub(crate) slot: StateSlot,
    /// Whether it overwrites the state that the step reads.
    pub(crate) in_place: bool,
    /// Whether one row is certain: the step continues the text.
    decodes: bool,
}

impl KvCache {
    /// Whether sequences have recurrent states.
    pub fn is_stateful(&self) -> bool {
        !self.states.is_empty()
    }

    /// State slots that leases can still take: all that are free, snapshots, or referred to by sessions alone.
    pub fn n_available_states(&self) -> usize {
        self.states.n_available()
    }

    /// The state after the computed positions of a sequence.
    pub fn state(&self, handle: &KvHandle) -> Option<StateSlot> {
        self.leases.get(handle).table.state()
    }

    /// What the step that was reserved for a sequence does with its states; `None` if the pool has none.
    pub fn state_plan(&self, handle: &KvHandle) -> Option<StatePlan<'_>> {
        let lease = self.leases.get(handle);
        let WrittenState { slot: write, .. } = lease.step.written?;
        Some(StatePlan { read: lease.table.state(), write, kept: &lease.step.kept })
    }

    /// The pages that have a snapshot of the state after them.
    pub fn snapshots(&self) -> impl Iterator<Item = CachedPage<'_>> {
        self.states.snapshots().filter_map(|(_, page)| self.cached_page(page))
    }

    /// Makes sure that the states of a step of `n_rows` rows can be written: the one after the last row, one after each row
    /// from the `n_certain`-th on, and snapshots. The rows behind the first `n_certain` are drafts;
    /// [`KvCache::commit`] says how many of them count. Does nothing if the pool has no states.
    ///
    /// A reservation that is made again replaces the one before, whose step must not have been submitted.
    ///
    /// # Errors
    /// All or nothing: [`CacheError::OutOfStates`] tells how many slots others must give back first. A sequence that has a
    /// state that it shares with no other sequence never fails for a step without drafts.
    ///
    /// # Panics
    /// If not `1 <= n_certain <= n_rows`, or if the state to begin with is unknown: the positions were restored without it.
    pub fn reserve_states(
        &mut self,
        handle: &KvHandle,
        n_rows: usize,
        n_certain: usize,
    ) -> Result<(), CacheError> {
        if self.states.is_empty() {
            return Ok(());
        }
        assert!((1..=n_rows).contains(&n_certain), "{n_certain} of {n_rows} rows are certain");
        self.drop_step_states(handle);
        let lease = self.leases.get(handle);
        let start = lease.table.computed();
        let state = lease.table.state();
        assert!(state.is_some() || start == 0, "the state after {start} positions is unknown");
        let n_drafts = n_rows - n_certain;
        let in_place = self.writes_in_place(state, n_drafts);
        let n_needed = n_drafts + usize::from(!in_place);
        let n_available = self.states.n_available();
        if n_needed > n_available {
            return Err(CacheError::OutOfStates { needed: n_needed, missing: n_needed - n_available });
        }
        self.tick();
        let slot = match state.filter(|_| in_place) {
            Some(slot) => {
                if let Some(page) = self.states.page_of(slot) {
                    self.evict_snapshot(page, EvictionReason::Memory);
                }
                slot
            }
            None => self.take_state().expect("enough slots are available"),
        };
        let end = start + n_rows;
        self.leases.get_mut(handle).step.written =
            Some(WrittenState { position: end, slot, in_place, decodes: n_certain == 1 });
        for position in start + n_certain..end {
            self.keep_state(handle, position);
        }
        self.keep_snapshots(handle, start, start + n_certain);
        Ok(())
    }

    /// Whether the state after a step's last row overwrites the state before its first: if only this lease refers to it; or
    /// if only a snapshot does besides, and there is no other slot, so that one sequence can always go on.
    fn writes_in_place(&self, state: Option<StateSlot>, n_drafts: usize) -> bool {
        let Some(slot) = state else { return false };
        let refs = self.states.refs(slot);
        if refs.pins > 1 || refs.session_refs > 0 {
            return false;
        }
        self.states.page_of(slot).is_none() || self.states.n_available() <= n_drafts
    }

    /// Keeps the states at the page ends that should become snapshots, as far as there are slots.
    fn keep_snapshots(&mut self, handle: &KvHandle, start: usize, certain: usize) {
        if !self.config.shares() {
            return;
        }
        let branch = self.leases.get(handle).branch;
        let last = certain - certain % self.page_len();
        for position in [branch, last] {
            let step = &self.leases.get(handle).step;
            let is_kept = step.kept.iter().any(|kept| kept.position == position)
                || step.written.is_some_and(|written| written.position == position);
            if start < position && position <= certain && !is_kept && self.states.n_available() > 0 {
                self.keep_state(handle, position);
            }
        }
    }

    fn keep_state(&mut self, handle: &KvHandle, position: usize) {
        if let Some(slot) = self.take_state() {
            let kept = &mut self.leases.get_mut(handle).step.kept;
            let index = kept.partition_point(|other| other.position < position);
            kept.insert(index, KeptState { position, slot });
        }
    }

    /// Takes a slot for a state that is read back from elsewhere: that after the first `len` positions, which must be
    /// reserved and end a page. To be filled before [`KvCache::commit_restored`] names `len`, which makes it a snapshot.
    ///
    /// # Errors
    /// [`CacheError::OutOfStates`].
    pub fn reserve_restored_state(&mut self, handle: &KvHandle, len: usize) -> Result<StateSlot, CacheError> {
        self.drop_step_states(handle);
        self.tick();
        let Some(slot) = self.take_state() else {
            return Err(CacheError::OutOfStates { needed: 1, missing: 1 });
        };
        let written = WrittenState { position: len, slot, in_place: false, decodes: false };
        self.leases.get_mut(handle).step.written = Some(written);
        Ok(slot)
    }

    /// After a step: makes the state after `computed` positions the current one, and snapshots of those at page ends.
    ///
    /// # Panics
    /// If the step was not to keep that state.
    pub(super) fn settle_states(&mut self, handle: &KvHandle, computed: usize) {
        let lease = self.leases.get_mut(handle);
        let written = lease.step.written.take();
        let mut kept = std::mem::take(&mut lease.step.kept);
        let decodes = written.is_some_and(|written| written.decodes);
        let slot_at = |position| {
            let written = written.filter(|written| written.position == position).map(|written| written.slot);
            let of_kept = || kept.iter().find(|kept| kept.position == position).map(|kept| kept.slot);
            written.or_else(of_kept)
        };
        let state = slot_at(computed);
        assert!(
            state.is_some() || written.is_none(),
            "no state was reserved after {computed} positions: written {written:?}, kept {kept:?}"
        );
        let before = self.leases.get_mut(handle).table.set_state(state);
        if let Some(state) = state {
            self.states.pin(state);
            self.publish_snapshot(handle, computed, state, decodes);
        }
        for kept in &kept {
            self.publish_snapshot(handle, kept.position, kept.slot, decodes);
            self.states.unpin(kept.slot, self.clock);
        }
        if let Some(written) = written.filter(|written| !written.in_place) {
            self.states.unpin(written.slot, self.clock);
        }
        if let Some(before) = before {
            self.states.unpin(before, self.clock);
        }
        kept.clear();
        self.leases.get_mut(handle).step.kept = kept;
    }

    /// Makes a slot the snapshot of the page that ends at `position`, if the page is indexed and its content has none. If the
    /// step was one of decoding, the snapshot that decoding left before is the next to be evicted.
    fn publish_snapshot(&mut self, handle: &KvHandle, position: usize, slot: StateSlot, decodes: bool) {
        let page_len = self.page_len();
        let lease = self.leases.get(handle);
        if !position.is_multiple_of(page_len) || position / page_len > lease.n_published {
            return;
        }
        let page = lease.table.pages()[position / page_len - 1];
        if self.snapshot_of(page).is_some() || self.states.page_of(slot).is_some() {
            return;
        }
        self.states.attach(slot, page);
        if decodes {
            let lease = self.leases.get_mut(handle);
            if let Some(last) = std::mem::replace(&mut lease.trail, position).checked_sub(1) {
                self.states.demote(lease.table.pages()[last / page_len]);
            }
        }
    }

    /// Gives back the slots of a step that was not committed.
    pub(super) fn drop_step_states(&mut self, handle: &KvHandle) {
        let lease = self.leases.get_mut(handle);
        let written = lease.step.written.take();
        let mut kept = std::mem::take(&mut lease.step.kept);
        if let Some(written) = written.filter(|written| !written.in_place) {
            self.states.unpin(written.slot, self.clock);
        }
        kept.drain(..).for_each(|kept| self.states.unpin(kept.slot, self.clock));
        self.leases.get_mut(handle).step.kept = kept;
    }

    /// The state after the content of an indexed page, if it has a snapshot, be it attached to a duplicate of the page.
    pub(crate) fn snapshot_of(&self, page: PageId) -> Option<StateSlot> {
        let of_duplicates = || {
            let end = self.index.end_of(page)?;
            self.index.with_content(end).find_map(|page| self.states.snapshot(page))
        };
        self.states.snapshot(page).or_else(of_duplicates)
    }

    /// Positions at the start of `pages`, at most `len`, that end with a page that has a snapshot.
    pub(super) fn len_with_snapshot(&self, pages: &[PageId], len: usize) -> usize {
        let n_pages = pages.len().min(len / self.page_len());
        let is_last = |page: &PageId| self.index.contains(*page) && self.snapshot_of(*page).is_some();
        pages[..n_pages].iter().rposition(is_last).map_or(0, |index| (index + 1) * self.page_len())
    }

    /// Where a lease can go back to, at most `len` positions, and makes the state after them its current one. A step that
    /// was reserved and not committed may have overwritten the state that it read.
    pub(super) fn rewind_state(&mut self, handle: &KvHandle, len: usize) -> usize {
        let lease = self.leases.get(handle);
        let is_lost = lease.step.written.is_some_and(|written| written.in_place);
        self.drop_step_states(handle);
        let lease = self.leases.get(handle);
        let computed = lease.table.computed();
        if len >= computed && !is_lost && lease.table.state().is_some() {
            return computed;
        }
        let pages = &lease.table.pages()[..lease.n_published];
        let len = self.len_with_snapshot(pages, len.min(computed));
        let last = len.checked_sub(1).map(|last| pages[last / self.page_len()]);
        let state = last.and_then(|page| self.snapshot_of(page));
        if let Some(state) = state {
            self.states.pin(state);
        }
        if let Some(before) = self.leases.get_mut(handle).table.set_state(state) {
            self.states.unpin(before, self.clock);
        }
        len
    }

    /// Pins a slot for a lease; a snapshot or an idle session may have to go.
    fn take_state(&mut self) -> Option<StateSlot> {
        let slot = loop {
            if let Some(slot) = self.states.take_free() {
                break slot;
            }
            if !self.evict_oldest_state(EvictionReason::Memory) {
                return None;
            }
        };
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.current_bytes());
        Some(slot)
    }

    /// Evicts the least recently used snapshot or idle session's pages; `false` if there is none.
    pub(super) fn evict_oldest_state(&mut self, reason: EvictionReason) -> bool {
        match (self.sessions.oldest_holding(), self.states.oldest_evictable()) {
            (Some((session, used)), slot) if slot.is_none_or(|(_, slot_used)| used <= slot_used) => {
                self.evict_session_pages(session, reason);
            }
            (_, Some((slot, _))) => match self.states.page_of(slot) {
                Some(page) => self.evict_snapshot(page, reason),
                None => return false,
            },
            _ => return false,
        }
        true
    }

    /// Evicts the snapshot of a page, and the page with it if that leads to no other.
    fn evict_snapshot(&mut self, page: PageId, reason: EvictionReason) {
        let leads_on = self.index.n_children(page) > 0 || self.index.twin(page).is_some();
        if self.allocator.is_cached(page) && !leads_on {
            return self.evict_page(page, reason);
        }
        let is_freed = self.states.snapshot(page).is_some_and(|slot| self.states.is_evictable(slot));
        let freed_bytes = self.budget.bytes_of_states(usize::from(is_freed));
        if let Some(mut content) = self.index.get(page) {
            content.snapshot = self.states.snapshot(page);
            let victim = Victim::Snapshot(content);
            self.observers.on_event(&CacheEvent::Evicted { victim, reason, freed_bytes });
        }
        self.states.detach(page);
        self.stats.evictions += 1;
        self.stats.evicted_snapshots += 1;
        // A duplicate of the page that led to nothing else is useless now.
        self.prune(self.index.end_of(page), None);
    }
}
