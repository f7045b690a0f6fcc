//! The reference's states. A state is a number that is never reused, so nothing here can mix up the states of a slot that
//! changed hands. Only how many exist at a time is limited.

use std::collections::{HashMap, HashSet};

use sm_tensor::TokenId;

use super::{Content, Reference};
use crate::world::PAGE_LEN;

/// What a lease's present step writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepStates {
    /// The position after the last row, the state there, and whether it overwrites the one that is read.
    pub(crate) written: Option<(usize, u32, bool)>,
    pub(crate) kept: Vec<(usize, u32)>,
    /// Whether one row is certain.
    decodes: bool,
}

#[derive(Debug, Default)]
pub(crate) struct RefStates {
    pub(crate) n_slots: usize,
    pub(crate) snapshots: HashMap<Content, u32>,
    /// Snapshots without other references, least recently used first.
    evictable: Vec<u32>,
    pub(crate) used: HashMap<u32, u64>,
    next: u32,
}

impl RefStates {
    pub(super) fn new(n_slots: usize) -> Self {
        Self { n_slots, ..Self::default() }
    }
}

impl Reference {
    fn is_stateful(&self) -> bool {
        self.states.n_slots > 0
    }

    /// The states that leases refer to, as often as they do.
    fn pinned_states(&self) -> impl Iterator<Item = u32> {
        self.leases.values().flat_map(|lease| {
            let written = lease.step.written.filter(|(_, _, in_place)| !in_place).map(|(_, state, _)| state);
            lease.state.into_iter().chain(written).chain(lease.step.kept.iter().map(|(_, state)| *state))
        })
    }

    fn session_states(&self) -> impl Iterator<Item = u32> {
        self.sessions.values().filter_map(|session| session.state)
    }

    fn is_snapshot(&self, state: u32) -> bool {
        self.states.snapshots.values().any(|other| *other == state)
    }

    pub(crate) fn n_pinned_states(&self) -> usize {
        self.pinned_states().collect::<HashSet<_>>().len()
    }

    pub(crate) fn n_used_states(&self) -> usize {
        let snapshots = self.states.snapshots.values().copied();
        self.pinned_states().chain(self.session_states()).chain(snapshots).collect::<HashSet<_>>().len()
    }

    pub(crate) fn n_available_states(&self) -> usize {
        self.states.n_slots - self.n_pinned_states()
    }

    /// Files a state that may have lost its last reference.
    pub(super) fn retire_state(&mut self, state: u32, newest: bool) {
        let is_read = self.pinned_states().chain(self.session_states()).any(|other| other == state);
        if !is_read && self.is_snapshot(state) && !self.states.evictable.contains(&state) {
            match newest {
                true => self.states.evictable.push(state),
                false => self.states.evictable.insert(0, state),
            }
        }
    }

    fn unpin_state(&mut self, state: u32) {
        self.states.used.insert(state, self.now);
        self.retire_state(state, true);
    }

    /// Takes states with new references off the list of evictable ones.
    pub(super) fn keep_read_states(&mut self) {
        let read: HashSet<_> = self.pinned_states().chain(self.session_states()).collect();
        self.states.evictable.retain(|state| !read.contains(state));
    }

    pub(super) fn snapshot_of(&self, page: u32) -> Option<u32> {
        self.content_of(page).and_then(|content| self.states.snapshots.get(content)).copied()
    }

    pub(super) fn lose_snapshot(&mut self, content: &Content) {
        if let Some(state) = self.states.snapshots.remove(content) {
            self.states.evictable.retain(|other| *other != state);
        }
    }

    /// Whether a sequence can continue from the content or from one that follows it.
    pub(super) fn is_useful(&self, content: &Content) -> bool {
        let (salt, tokens) = content;
        let follows =
            |(s, t): &Content| s == salt && t.len() == tokens.len() + PAGE_LEN && t.starts_with(tokens);
        !self.is_stateful() || self.states.snapshots.contains_key(content) || self.indexed.keys().any(follows)
    }

    /// Blanks cached pages that lead to no snapshot, from the one before `content` on.
    pub(super) fn prune_before(&mut self, content: Option<Content>, evicted: bool) {
        if let Some((salt, tokens)) = content
            && tokens.len() > PAGE_LEN
        {
            self.prune(&(salt, tokens[..tokens.len() - PAGE_LEN].to_vec()), evicted);
        }
    }

    fn prune(&mut self, content: &Content, evicted: bool) {
        let pages = self.indexed.get(content).cloned().unwrap_or_default();
        let page = pages.into_iter().find(|page| self.cached.contains(page));
        if let Some(page) = page
            && !self.is_useful(content)
        {
            self.forget_page(page, evicted);
        }
    }

    /// Blanks a cached page.
    pub(super) fn forget_page(&mut self, page: u32, evicted: bool) {
        let content = self.content_of(page).cloned();
        if evicted {
            self.stats.evictions += 1;
            self.stats.evicted_pages += 1;
            let is_last = content.as_ref().is_some_and(|content| self.indexed[content].len() == 1);
            self.stats.evicted_snapshots += u64::from(is_last && self.snapshot_of(page).is_some());
        }
        self.unindex(page);
        self.cached.retain(|other| *other != page);
        self.blank.push(page);
        self.prune_before(content, evicted);
    }

    /// Positions at the start of `pages`, at most `len`, whose state is a snapshot; `len` if there are no states.
    pub(super) fn known_len(&self, pages: &[u32], len: usize) -> usize {
        if !self.is_stateful() {
            return len;
        }
        let n_pages = (1..=pages.len().min(len / PAGE_LEN)).rev();
        n_pages.into_iter().find(|n| self.snapshot_of(pages[n - 1]).is_some()).map_or(0, |n| n * PAGE_LEN)
    }

    pub(super) fn evict_oldest_state(&mut self) -> bool {
        let with_pages = self.sessions.iter().filter(|(_, session)| !session.pages.is_empty());
        let session =
            with_pages.min_by_key(|(_, session)| session.used).map(|(id, entry)| (id.clone(), entry.used));
        let state = self.states.evictable.first().map(|state| (*state, self.states.used[state]));
        match (session, state) {
            (Some((id, used)), state) if state.is_none_or(|(_, at)| used <= at) => self.evict_pages(&id),
            (_, Some((state, _))) => self.evict_snapshot(state),
            _ => return false,
        }
        true
    }

    fn evict_snapshot(&mut self, state: u32) {
        let mut snapshots = self.states.snapshots.iter();
        let content =
            snapshots.find(|(_, other)| **other == state).map(|(content, _)| content.clone()).unwrap();
        let pages = self.indexed[&content].clone();
        if let [page] = pages[..]
            && self.cached.contains(&page)
        {
            self.lose_snapshot(&content);
            if !self.is_useful(&content) {
                self.stats.evicted_snapshots += 1;
                return self.forget_page(page, true);
            }
        }
        self.lose_snapshot(&content);
        self.stats.evictions += 1;
        self.stats.evicted_snapshots += 1;
        self.prune(&content, false);
    }

    fn take_state(&mut self) -> Option<u32> {
        while self.n_used_states() >= self.states.n_slots {
            if !self.evict_oldest_state() {
                return None;
            }
        }
        self.states.next += 1;
        Some(self.states.next)
    }

    fn note_peak(&mut self) {
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.bytes());
    }

    /// The number of missing slots, if any.
    pub(crate) fn reserve_states(&mut self, id: usize, n_rows: usize, n_certain: usize) -> Result<(), usize> {
        if !self.is_stateful() {
            return Ok(());
        }
        self.drop_step_states(id);
        let super::RefLease { computed: start, state, branch, .. } = self.leases[&id].clone();
        let n_drafts = n_rows - n_certain;
        let n_available = self.n_available_states();
        let is_own = state.is_some_and(|state| {
            self.pinned_states().filter(|other| *other == state).count() == 1
                && self.session_states().all(|other| other != state)
        });
        let is_snapshot = state.is_some_and(|state| self.is_snapshot(state));
        let in_place = is_own && (!is_snapshot || n_available <= n_drafts);
        let n_needed = n_drafts + usize::from(!in_place);
        if n_needed > n_available {
            return Err(n_needed - n_available);
        }
        if in_place && is_snapshot {
            self.evict_snapshot(state.unwrap());
        }
        let end = start + n_rows;
        let written = if in_place { state.unwrap() } else { self.take_state().unwrap() };
        let step = &mut self.leases.get_mut(&id).unwrap().step;
        step.written = Some((end, written, in_place));
        step.decodes = n_certain == 1;
        self.note_peak();
        let certain = start + n_certain;
        let boundary = certain / PAGE_LEN * PAGE_LEN;
        let snapshots =
            [branch, boundary].into_iter().filter(|position| (start + 1..=certain).contains(position));
        let drafts = (certain..end).map(|position| (position, true));
        let shares = self.shares();
        for (position, is_needed) in
            drafts.chain(snapshots.filter(|_| shares).map(|position| (position, false)))
        {
            let is_kept =
                position == end || self.leases[&id].step.kept.iter().any(|(other, _)| *other == position);
            if !is_needed && (is_kept || self.n_available_states() == 0) {
                continue;
            }
            let state = self.take_state().unwrap();
            let kept = &mut self.leases.get_mut(&id).unwrap().step.kept;
            kept.push((position, state));
            kept.sort_unstable();
            self.note_peak();
        }
        Ok(())
    }

    pub(crate) fn reserve_restored_state(&mut self, id: usize, len: usize) -> Result<(), usize> {
        self.drop_step_states(id);
        let state = self.take_state().ok_or(1usize)?;
        self.leases.get_mut(&id).unwrap().step.written = Some((len, state, false));
        self.note_peak();
        Ok(())
    }

    fn drop_step_states(&mut self, id: usize) {
        self.leases.get_mut(&id).unwrap().step = StepStates::default();
    }

    pub(super) fn settle_states(&mut self, id: usize, token_ids: &[TokenId]) {
        if !self.is_stateful() {
            return;
        }
        let lease = self.leases.get_mut(&id).unwrap();
        let StepStates { written, kept, decodes } = std::mem::take(&mut lease.step);
        let (computed, salt) = (lease.computed, lease.salt.clone());
        let states: Vec<_> = kept.into_iter().chain(written.map(|(end, state, _)| (end, state))).collect();
        let current = states.iter().find(|(position, _)| *position == computed).map(|(_, state)| *state);
        let before = std::mem::replace(&mut lease.state, current);
        let mut published = Vec::new();
        let past = states.iter().filter(|(position, _)| *position <= computed);
        for (position, state) in past.filter(|(position, _)| position % PAGE_LEN == 0) {
            let content = (salt.clone(), token_ids[..*position].to_vec());
            if self.indexed.contains_key(&content) && !self.states.snapshots.contains_key(&content) {
                self.states.snapshots.insert(content, *state);
                published.push(*position);
            }
        }
        let lease = &self.leases[&id];
        let (pages, trail) = (lease.pages.clone(), lease.trail);
        // In the order in which the cache drops its references.
        for state in states.into_iter().map(|(_, state)| state).chain(before) {
            self.unpin_state(state);
        }
        if let [position] = published[..]
            && decodes
        {
            self.leases.get_mut(&id).unwrap().trail = position;
            let last = trail.checked_sub(1).and_then(|last| self.snapshot_of(pages[last / PAGE_LEN]));
            if let Some(state) = last.filter(|state| self.states.evictable.contains(state)) {
                self.states.evictable.retain(|other| *other != state);
                self.states.evictable.insert(0, state);
                self.states.used.insert(state, 0);
            }
        }
    }

    pub(super) fn rewind_state(&mut self, id: usize, len: usize) -> usize {
        if !self.is_stateful() {
            return len;
        }
        let super::RefLease { pages, computed, state, step, .. } = self.leases[&id].clone();
        self.drop_step_states(id);
        let is_lost = step.written.is_some_and(|(_, _, in_place)| in_place);
        if len >= computed && !is_lost && state.is_some() {
            return computed;
        }
        let len = self.known_len(&pages, len.min(computed));
        let new = len.checked_sub(1).and_then(|last| self.snapshot_of(pages[last / PAGE_LEN]));
        self.leases.get_mut(&id).unwrap().state = new;
        self.keep_read_states();
        state.into_iter().for_each(|state| self.unpin_state(state));
        len
    }
}
