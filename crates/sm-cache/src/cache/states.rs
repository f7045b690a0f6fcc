//! Recurrent states that a step reads, writes and keeps.
//!
//! ```text
//! position   0        16        32        48    53  54  55  56
//! pages      [  page  ][  page  ][  page  ][  page ....
//! states              s         .         s     c   k   k   w        a step of one certain row and two drafts
//!
//! s  snapshot: available to others through the prefix index
//! c  the current state, which the step reads
//! k  kept: the state after a row that may be the last accepted one
//! w  written: the state after the last row; in place of `c` if only this lease refers to it
//! ```
//!
//! **Which states become snapshots.** A snapshot at every page end would take as much memory as attention over all
//! positions, which recurrent layers are meant to avoid. So a step keeps at most two, and only if a slot is available:
//!
//! * the last page end among its certain rows, so a prompt chunk leaves one snapshot and decoding one per page;
//! * the page end at which the request diverges from an earlier one, because a third is likely to branch there too. This is
//!   the branch point of Marconi (<https://arxiv.org/abs/2411.19379>).
//!
//! Decoding trails a single snapshot: each new one makes the previous one the first to evict, so that a long answer does
//! not displace the snapshots of other prompts.

use sm_tensor::StateSlot;

use super::KvCache;
use crate::error::CacheError;
use crate::event::EvictionReason;
use crate::lease::{KeptState, KvHandle, WrittenState};

/// A step's use of one sequence's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatePlan<'a> {
    /// The state before the first row; `None` for the zero state before position 0.
    pub read: Option<StateSlot>,
    /// Slot for the state after the last row; may be the slot that is read.
    pub write: StateSlot,
    /// Slots for the states after other rows, by ascending position.
    pub kept: &'a [KeptState],
}

impl KvCache {
    /// The state after the computed positions of a sequence.
    pub fn state(&self, handle: &KvHandle) -> Option<StateSlot> {
        self.leases.get(handle).table.state()
    }

    /// The states of a sequence's reserved step; `None` if the pool has no states.
    pub fn state_plan(&self, handle: &KvHandle) -> Option<StatePlan<'_>> {
        let lease = self.leases.get(handle);
        let WrittenState { slot: write, .. } = lease.step.written?;
        Some(StatePlan { read: lease.table.state(), write, kept: &lease.step.kept })
    }

    /// Reserves state slots for a step of `n_rows` rows, of which the first `n_certain` are certain and the others drafts:
    /// one for the state after each row from the `n_certain`th on, and some for snapshots. Does nothing if the pool has no
    /// states.
    ///
    /// Replaces an earlier reservation, whose step must not have been submitted.
    ///
    /// # Errors
    /// All or nothing: [`CacheError::OutOfStates`] says how many slots others must release first. Cannot happen without
    /// drafts to a sequence that has its own state.
    ///
    /// # Panics
    /// Unless `1 <= n_certain <= n_rows`, or if the current state is unknown because positions were restored without it.
    pub fn reserve_states(
        &mut self,
        handle: &KvHandle,
        n_rows: usize,
        n_certain: usize,
    ) -> Result<(), CacheError> {
        if !self.is_stateful() {
            return Ok(());
        }
        assert!((1..=n_rows).contains(&n_certain), "{n_certain} of {n_rows} rows are certain");
        self.drop_step_states(handle);
        let table = &self.leases.get(handle).table;
        let start = table.computed();
        let current = table.state();
        assert!(current.is_some() || start == 0, "the state after {start} positions is unknown");
        let n_drafts = n_rows - n_certain;
        let in_place = current.filter(|slot| self.is_writable(*slot, n_drafts));
        let n_needed = n_drafts + usize::from(in_place.is_none());
        let n_available = self.states.n_available();
        if n_needed > n_available {
            return Err(CacheError::OutOfStates { needed: n_needed, missing: n_needed - n_available });
        }
        self.tick();
        if let Some(page) = in_place.and_then(|slot| self.states.page_of(slot)) {
            self.evict_snapshot(page, EvictionReason::Memory);
        }
        let certain = start + n_certain;
        let end = start + n_rows;
        self.leases.get_mut(handle).step.written = Some(WrittenState {
            position: end,
            slot: in_place.or_else(|| self.take_state()).expect("enough slots are available"),
            in_place: in_place.is_some(),
            decodes: n_certain == 1,
        });
        for position in certain..end {
            self.keep_state(handle, position);
        }
        self.keep_snapshots(handle, start, certain);
        Ok(())
    }

    /// Whether a step may overwrite a lease's current state: only if nothing else refers to it. If a snapshot does, only if
    /// no other slot is available, so that a single sequence can always advance.
    fn is_writable(&self, slot: StateSlot, n_drafts: usize) -> bool {
        let refs = self.states.refs(slot);
        let is_shared = refs.pins > 1 || refs.sessions > 0;
        let is_snapshot = self.states.page_of(slot).is_some();
        !is_shared && (!is_snapshot || self.states.n_available() <= n_drafts)
    }

    /// Keeps states that should become snapshots, while slots are available.
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

    /// Reserves a slot for a state restored from elsewhere: the one after the first `len` positions, which must be reserved
    /// and end at a page boundary. Fill the slot, then pass `len` to [`KvCache::commit_restored`]; the state becomes a
    /// snapshot.
    ///
    /// # Errors
    /// [`CacheError::OutOfStates`].
    pub fn reserve_restored_state(&mut self, handle: &KvHandle, len: usize) -> Result<StateSlot, CacheError> {
        self.drop_step_states(handle);
        self.tick();
        let slot = self.take_state().ok_or(CacheError::OutOfStates { needed: 1, missing: 1 })?;
        let written = WrittenState { position: len, slot, in_place: false, decodes: false };
        self.leases.get_mut(handle).step.written = Some(written);
        Ok(slot)
    }

    /// Releases the slots of an uncommitted step.
    pub(super) fn drop_step_states(&mut self, handle: &KvHandle) {
        let step = &mut self.leases.get_mut(handle).step;
        if let Some(written) = step.written.take().filter(|written| !written.in_place) {
            self.states.unpin(written.slot, self.clock);
        }
        step.kept.drain(..).for_each(|kept| self.states.unpin(kept.slot, self.clock));
    }
}
