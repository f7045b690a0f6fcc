//! Integrity checks: every page and state slot is in exactly one place, and all counts are right.
//!
//! For tests, and for engines that suspect a defect, between steps.

use std::collections::{HashMap, HashSet};

use sm_tensor::{PageId, StateSlot};

use super::KvCache;
use crate::allocator::PageRefs;
use crate::lease::KvHandle;
use crate::prefix::ChainEnd;
use crate::state_slots::SlotRefs;

/// A broken invariant: a defect in this crate or its caller, never in a request. Log it and start over with a new cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheFault {
    /// A page breaks a rule.
    #[error("page {page}: {rule}")]
    Page {
        /// The page.
        page: u32,
        /// The rule.
        rule: &'static str,
    },
    /// A state slot breaks a rule.
    #[error("state slot {slot}: {rule}")]
    State {
        /// The slot.
        slot: u32,
        /// The rule.
        rule: &'static str,
    },
    /// A lease breaks a rule.
    #[error("lease {lease}: {rule}")]
    Lease {
        /// Its index.
        lease: u32,
        /// The rule.
        rule: &'static str,
    },
    /// A session breaks a rule.
    #[error("session {session}: {rule}")]
    Session {
        /// Its index.
        session: u32,
        /// The rule.
        rule: &'static str,
    },
    /// A count is wrong.
    #[error("{what}: counted {counted} but recorded {recorded}")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The right count.
        counted: usize,
        /// The cache's count.
        recorded: usize,
    },
}

/// The first rule that does not hold.
fn broken(rules: &[(bool, &'static str)]) -> Option<&'static str> {
    rules.iter().find(|(holds, _)| !holds).map(|(_, rule)| *rule)
}

fn count(what: &'static str, counted: usize, recorded: usize) -> Result<(), CacheFault> {
    if counted == recorded { Ok(()) } else { Err(CacheFault::Count { what, counted, recorded }) }
}

impl KvCache {
    /// Checks all invariants that hold between calls, in time linear in the number of pages.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn check(&self) -> Result<(), CacheFault> {
        self.check_pages()?;
        self.check_states()?;
        self.check_snapshots()?;
        self.check_leases_and_sessions()?;
        self.check_namespaces()
    }

    /// Checks that `handles` are all existing handles. A missing one was dropped without being released.
    ///
    /// # Errors
    /// The first lease whose handle is missing.
    pub fn check_leases<'a>(
        &self,
        handles: impl IntoIterator<Item = &'a KvHandle>,
    ) -> Result<(), CacheFault> {
        let known: HashSet<u32> = handles.into_iter().map(|handle| handle.lease).collect();
        match self.leases.iter().find(|(lease, _)| !known.contains(lease)) {
            Some((lease, _)) => {
                Err(CacheFault::Lease { lease, rule: "its handle was dropped without being released" })
            }
            None => count("leases", self.leases.len(), known.len()),
        }
    }

    fn check_pages(&self) -> Result<(), CacheFault> {
        let n_pages = self.allocator.n_pages();
        let mut refs = vec![PageRefs::default(); n_pages];
        let mut n_lists = vec![0; n_pages];
        let leased = self.leases.iter().flat_map(|(_, lease)| lease.table.pages());
        leased.for_each(|page| refs[page.0 as usize].pins += 1);
        let of_sessions = self.sessions.iter().flat_map(|(_, session)| session.table.pages());
        of_sessions.for_each(|page| refs[page.0 as usize].sessions += 1);
        let listed = self.allocator.blank().chain(self.allocator.cached());
        listed.for_each(|page| n_lists[page.0 as usize] += 1);
        for (page, refs) in (0..).map(PageId).zip(&refs) {
            let is_free = *refs == PageRefs::default();
            let rule = broken(&[
                (self.allocator.refs(page) == *refs, "its counts are those of its users"),
                (
                    n_lists[page.0 as usize] == u32::from(is_free),
                    "it is in one list if unreferenced, else in none",
                ),
                (
                    !is_free || self.allocator.is_cached(page) == self.index.contains(page),
                    "it is cached if indexed",
                ),
                (self.index.is_reachable(page), "its predecessor is indexed, if it is"),
            ]);
            if let Some(rule) = rule {
                return Err(CacheFault::Page { page: page.0, rule });
            }
        }
        let n_pinned = refs.iter().filter(|refs| refs.pins > 0).count();
        count("pinned pages", n_pinned, self.allocator.n_pinned())?;
        let n_resident = self.allocator.n_resident();
        let n_max = self.allocator.max_resident();
        if n_resident > n_max && n_resident > n_pinned {
            count("resident pages", n_resident, n_max)
        } else {
            Ok(())
        }
    }

    fn check_states(&self) -> Result<(), CacheFault> {
        let n_slots = self.states.len();
        let mut refs = vec![SlotRefs::default(); n_slots];
        let mut n_lists = vec![0; n_slots];
        for (_, lease) in self.leases.iter() {
            let written = lease.step.written.filter(|written| !written.in_place).map(|written| written.slot);
            let kept = lease.step.kept.iter().map(|kept| kept.slot);
            let pinned = lease.table.state().into_iter().chain(written).chain(kept);
            pinned.for_each(|slot| refs[slot.0 as usize].pins += 1);
        }
        let of_sessions = self.sessions.iter().filter_map(|(_, session)| session.table.state());
        of_sessions.for_each(|slot| refs[slot.0 as usize].sessions += 1);
        let listed = self.states.free().chain(self.states.evictable());
        listed.for_each(|slot| n_lists[slot.0 as usize] += 1);
        for (slot, refs) in (0..).map(StateSlot).zip(&refs) {
            let is_free = *refs == SlotRefs::default();
            let page = self.states.page_of(slot);
            let rule = broken(&[
                (self.states.refs(slot) == *refs, "its counts are those of its users"),
                (
                    n_lists[slot.0 as usize] == u32::from(is_free),
                    "it is in one list if unreferenced, else in none",
                ),
                (
                    self.states.is_evictable(slot) == (is_free && page.is_some()),
                    "it is evictable if it is a snapshot and nothing else",
                ),
                (
                    page.is_none_or(|page| self.states.snapshot(page) == Some(slot)),
                    "the page whose snapshot it is names it",
                ),
            ]);
            if let Some(rule) = rule {
                return Err(CacheFault::State { slot: slot.0, rule });
            }
        }
        let n_pinned = refs.iter().filter(|refs| refs.pins > 0).count();
        count("pinned state slots", n_pinned, self.states.n_pinned())?;
        count("snapshots", self.states.pages_with_snapshot().count(), self.states.n_snapshots())
    }

    /// If the pool has states, checks that snapshots can be found and that cached pages lead to one.
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
            let n_children = end.and_then(|end| n_children.get(&end)).copied().unwrap_or(0);
            let n_snapshots = end.map_or(0, |end| {
                self.index.with_content(end).filter(|page| self.states.snapshot(*page).is_some()).count()
            });
            let rule = broken(&[
                (self.states.snapshot(page).is_none() || end.is_some(), "it is indexed if it has a snapshot"),
                (n_snapshots <= 1, "its content has one snapshot at most"),
                (self.index.n_children(page) == n_children, "its number of children is right"),
                (
                    !self.allocator.is_cached(page) || n_children + n_snapshots > 0,
                    "it leads to a snapshot if it is cached",
                ),
            ]);
            if let Some(rule) = rule {
                return Err(CacheFault::Page { page: page.0, rule });
            }
        }
        Ok(())
    }

    fn check_leases_and_sessions(&self) -> Result<(), CacheFault> {
        let is_distinct = |pages: &[PageId]| pages.iter().collect::<HashSet<_>>().len() == pages.len();
        for (lease, entry) in self.leases.iter() {
            let pages = entry.table.pages();
            let computed = entry.table.computed();
            let published = pages.get(..entry.n_published);
            let is_indexed = |pages: &[PageId]| pages.iter().all(|page| self.index.contains(*page));
            let rule = broken(&[
                (is_distinct(pages), "its pages differ"),
                (pages.len() >= self.pages_for(computed), "its pages cover what is computed"),
                (published.is_some_and(is_indexed), "the pages it published are indexed"),
                (entry.n_published * self.page_len() <= computed, "the pages it published are computed"),
            ]);
            if let Some(rule) = rule {
                return Err(CacheFault::Lease { lease, rule });
            }
        }
        for (session, entry) in self.sessions.iter() {
            let pages = entry.table.pages();
            let computed = entry.table.computed();
            let has_state = self.is_stateful() && computed > 0;
            let rule = broken(&[
                (is_distinct(pages), "its pages differ"),
                (pages.len() == self.pages_for(computed), "its pages are those of what is computed"),
                (computed <= entry.token_ids.len(), "what is computed has tokens"),
                (entry.table.state().is_some() == has_state, "its state is known"),
                (self.sessions.is_in_order(session), "it is in the orders to which it belongs"),
            ]);
            if let Some(rule) = rule {
                return Err(CacheFault::Session { session, rule });
            }
        }
        Ok(())
    }

    fn check_namespaces(&self) -> Result<(), CacheFault> {
        let mut n_users: Vec<usize> = Vec::new();
        let pages =
            (0..self.allocator.n_pages() as u32).filter_map(|page| self.index.namespace_of(PageId(page)));
        let leases = self.leases.iter().map(|(_, lease)| lease.namespace);
        let sessions = self.sessions.iter().map(|(_, session)| session.namespace);
        for namespace in pages.chain(leases).chain(sessions) {
            n_users.resize(n_users.len().max(namespace as usize + 1), 0);
            n_users[namespace as usize] += 1;
        }
        for (namespace, counted) in (0..).zip(n_users) {
            count("users of a namespace", counted, self.index.namespaces().n_users(namespace))?;
        }
        Ok(())
    }
}
