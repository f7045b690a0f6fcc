//! Checks that every page is free, cached or in use, exactly once.

use std::collections::HashSet;

use sm_tensor::PageId;

use crate::cache::{KvCache, KvHandle};

/// A broken invariant: a defect of this crate or of its caller, never of a request. Log it, count it, start afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheFault {
    /// A page is not where it should be.
    #[error("page {page}: {rule}")]
    Page {
        /// The page.
        page: u32,
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
