//! Checks that every page is blank, cached or in use, exactly once, and so every state slot.

use std::collections::{HashMap, HashSet};

use sm_tensor::{PageId, StateSlot};

use crate::cache::{KvCache, KvHandle};
use crate::prefix::ChainEnd;
use crate::state_slots::SlotRefs;

/// A broken invariant: a defect of this crate or of its caller, never of a request. Log it, count it, start afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheFault {
    /// A page is not where it should be.
    #[error("page {page}: {rule}")]
    Page {
        /// The page.
        page: u32,
        /// What should be.
        rule: &'static str,
    },
    /// A state slot is not where it should be.
    #[error("state slot {slot}: {rule}")]
    State {
        /// The slot.
        slot: u32,
        /// What should be.
        rule: &'static str,
    },
    /// A lease contradicts itself.
    #[error("lease {lease}: {rule}")]
    Lease {
        /// Its number.
        lease: u32,
        /// What should be.
        rule: &'static str,
    },
    /// A session contradicts itself.
    #[error("session {session}: {rule}")]
    Session {
        /// Its number.
        session: u32,
        /// What should be.
        rule: &'static str,
    },
    /// Numbers disagree.
    #[error("{what}: counted {counted} but noted {noted}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// What there is.
        counted: usize,
        /// What the cache believes.
        noted: usize,
    },
}

impl KvCache {
    /// Checks everything that must hold between two calls. Takes time proportional to the number of pages.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn check(&self) -> Result<(), CacheFault> {
        self.check_pages()?;
        self.check_states()?;
        self.check_snapshots()?;
        self.check_tables()?;
        self.check_namespaces()
    }

    /// Checks that `handles` are all leases there are: a lease that is not among them was lost, and its pages with it.
    ///
    /// # Errors
    /// The first lease that is lost.
    pub fn check_leases<'a>(
        &self,
        handles: impl IntoIterator<Item = &'a KvHandle>,
    ) -> Result<(), CacheFault> {
        let known: HashSet<u32> = handles.into_iter().map(|handle| handle.slot).collect();
        match self.leases.iter().find(|(slot, _)| !known.contains(slot)) {
            Some((lease, _)) => {
                Err(CacheFault::Lease { lease, rule: "its handle was lost without being released" })
            }
            None => count("leases", self.leases.len(), known.len()),
        }
    }

    fn check_pages(&self) -> Result<(), CacheFault> {
        let n_pages = self.allocator.n_pages();
        let (mut pins, mut holds, mut lists) = (vec![0; n_pages], vec![0; n_pages], vec![0; n_pages]);
        let leased = self.leases.iter().flat_map(|(_, lease)| lease.table.pages());
        leased.for_each(|page| pins[page.0 as usize] += 1);
        let kept = self.sessions.iter().flat_map(|(_, session)| session.table.pages());
        kept.for_each(|page| holds[page.0 as usize] += 1);
        self.allocator.blank().chain(self.allocator.cached()).for_each(|page| lists[page.0 as usize] += 1);
        for page in 0..n_pages {
            let id = PageId(page as u32);
            let is_free = (pins[page], holds[page]) == (0, 0);
            let rules = [
                (self.allocator.refs(id) == (pins[page], holds[page]), "its counts are those of its holders"),
                (lists[page] == u32::from(is_free), "it is in one list if nobody holds it, else in none"),
                (
                    !is_free || self.allocator.is_cached(id) == self.index.contains(id),
                    "it is cached if indexed",
                ),
            ];
            if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
                return Err(CacheFault::Page { page: id.0, rule });
            }
        }
        count("pinned pages", pins.iter().filter(|pins| **pins > 0).count(), self.allocator.n_pinned())?;
        let (n_resident, n_max) = (self.allocator.n_resident(), self.allocator.max_resident());
        let n_idle = n_resident - self.allocator.n_pinned();
        if n_resident > n_max && n_idle > 0 { count("resident pages", n_resident, n_max) } else { Ok(()) }
    }

    fn check_states(&self) -> Result<(), CacheFault> {
        let n_slots = self.states.len();
        let mut refs = vec![SlotRefs::default(); n_slots];
        let mut lists = vec![0; n_slots];
        for (_, lease) in self.leases.iter() {
            let written = lease.step.written.filter(|written| !written.in_place).map(|written| written.slot);
            let kept = lease.step.kept.iter().map(|kept| kept.slot);
            let pinned = lease.table.state().into_iter().chain(written).chain(kept);
            pinned.for_each(|slot| refs[slot.0 as usize].pins += 1);
        }
        let of_sessions = self.sessions.iter().filter_map(|(_, session)| session.table.state());
        of_sessions.for_each(|slot| refs[slot.0 as usize].session_refs += 1);
        self.states.free().chain(self.states.evictable()).for_each(|slot| lists[slot.0 as usize] += 1);
        for slot in (0..n_slots as u32).map(StateSlot) {
            let counted = refs[slot.0 as usize];
            let page = self.states.page_of(slot);
            let n_lists = u32::from(counted == SlotRefs::default());
            let rules = [
                (self.states.refs(slot) == counted, "its counts are those of its holders"),
                (lists[slot.0 as usize] == n_lists, "it is in one list if no one refers to it, else in none"),
                (
                    self.states.is_evictable(slot) == (n_lists == 1 && page.is_some()),
                    "it can be evicted if it is a snapshot and nothing else",
                ),
                (
                    page.is_none_or(|page| self.states.snapshot(page) == Some(slot)),
                    "its page names it as its snapshot",
                ),
            ];
            if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
                return Err(CacheFault::State { slot: slot.0, rule });
            }
        }
        let n_pinned = refs.iter().filter(|refs| refs.pins > 0).count();
        count("pinned state slots", n_pinned, self.states.n_pinned())?;
        count("snapshots", self.states.snapshots().count(), self.states.n_snapshots())
    }

    /// Checks that snapshots can be found, and that cached pages lead to one.
    fn check_snapshots(&self) -> Result<(), CacheFault> {
        if !self.is_stateful() {
            return Ok(());
        }
        let pages = || (0..self.allocator.n_pages() as u32).map(PageId);
        let mut n_children: HashMap<ChainEnd, usize> = HashMap::new();
        for parent in pages().filter_map(|page| self.index.parent_of(page)) {
            *n_children.entry(parent).or_default() += 1;
        }
        for page in pages() {
            let end = self.index.end_of(page);
            let counted = end.and_then(|end| n_children.get(&end)).copied().unwrap_or(0);
            let n_snapshots = end.map_or(0, |end| {
                self.index.with_content(end).filter(|page| self.states.snapshot(*page).is_some()).count()
            });
            let rules = [
                (self.states.snapshot(page).is_none() || end.is_some(), "it is indexed if it has a snapshot"),
                (n_snapshots <= 1, "one snapshot of a content is enough"),
                (self.index.n_children(page) == counted, "its number of children is right"),
                (
                    !self.allocator.is_cached(page) || counted + n_snapshots > 0,
                    "it leads to a snapshot if it is cached",
                ),
            ];
            if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
                return Err(CacheFault::Page { page: page.0, rule });
            }
        }
        Ok(())
    }

    fn check_tables(&self) -> Result<(), CacheFault> {
        let is_distinct = |pages: &[PageId]| pages.iter().collect::<HashSet<_>>().len() == pages.len();
        for (lease, entry) in self.leases.iter() {
            let (pages, computed) = (entry.table.pages(), entry.table.computed());
            let published = pages.get(..entry.n_published);
            let is_published = |pages: &[PageId]| pages.iter().all(|page| self.index.contains(*page));
            let rules = [
                (is_distinct(pages), "its pages differ"),
                (pages.len() >= self.pages_for(computed), "its pages hold what is computed"),
                (published.is_some_and(is_published), "what it published is indexed"),
                (entry.n_published * self.page_len() <= computed, "it published no more than is computed"),
            ];
            if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
                return Err(CacheFault::Lease { lease, rule });
            }
        }
        for (session, entry) in self.sessions.iter() {
            let (pages, computed) = (entry.table.pages(), entry.table.computed());
            let rules = [
                (is_distinct(pages), "its pages differ"),
                (pages.len() == self.pages_for(computed), "its pages are those of what is computed"),
                (computed <= entry.token_ids.len(), "no more is computed than was said"),
                (
                    entry.table.state().is_some() == (self.is_stateful() && computed > 0),
                    "it knows the state after what is computed",
                ),
                (self.sessions.is_in_order(session), "it is in the lists where it belongs"),
            ];
            if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
                return Err(CacheFault::Session { session, rule });
            }
        }
        Ok(())
    }

    fn check_namespaces(&self) -> Result<(), CacheFault> {
        let mut users: Vec<usize> = Vec::new();
        let pages =
            (0..self.allocator.n_pages() as u32).filter_map(|page| self.index.namespace_of(PageId(page)));
        let leases = self.leases.iter().map(|(_, lease)| lease.namespace);
        let sessions = self.sessions.iter().map(|(_, session)| session.namespace);
        for slot in pages.chain(leases).chain(sessions) {
            users.resize(users.len().max(slot as usize + 1), 0);
            users[slot as usize] += 1;
        }
        let mut slots = users.iter().enumerate();
        let noted = |slot| self.index.namespaces().n_users(slot as u32);
        match slots.find(|(slot, counted)| **counted != noted(*slot)) {
            Some((slot, counted)) => count("users of a namespace", *counted, noted(slot)),
            None => Ok(()),
        }
    }
}

fn count(what: &'static str, counted: usize, noted: usize) -> Result<(), CacheFault> {
    if counted == noted { Ok(()) } else { Err(CacheFault::Count { what, counted, noted }) }
}
