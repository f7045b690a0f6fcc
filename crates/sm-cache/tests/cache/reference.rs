//! The reference: the same cache in plain lists that are searched from end to end. Slow, but obviously right.

use std::collections::HashMap;

use sm_cache::{KvCacheConfig, KvCacheStats};
use sm_tensor::{PageId, TokenId};

use crate::world::{PAGE_BYTES, PAGE_LEN, STATE_BYTES};
use states::{RefStates, StepStates};

mod states;

/// A full page's namespace and all tokens up to its end.
pub(crate) type Content = (String, Vec<TokenId>);

#[derive(Clone, Debug, Default)]
pub(crate) struct RefLease {
    pub(crate) pages: Vec<u32>,
    pub(crate) computed: usize,
    salt: String,
    unconfirmed: Option<usize>,
    pub(crate) state: Option<u32>,
    pub(crate) step: StepStates,
    branch: usize,
    trail: usize,
}

#[derive(Clone, Debug)]
struct RefSession {
    pages: Vec<u32>,
    computed: usize,
    token_ids: Vec<TokenId>,
    used: u64,
    busy: bool,
    kept: usize,
    first: bool,
    state: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Reference {
    config: KvCacheConfig,
    max_resident: usize,
    n_pages: usize,
    blank: Vec<u32>,
    pub(crate) cached: Vec<u32>,
    used: HashMap<u32, u64>,
    /// Duplicates of each content, in the order in which they are found.
    indexed: HashMap<Content, Vec<u32>>,
    pub(crate) leases: HashMap<usize, RefLease>,
    sessions: HashMap<String, RefSession>,
    pub(crate) states: RefStates,
    pub(crate) stats: KvCacheStats,
    /// The time: operations so far.
    pub(crate) now: u64,
}

impl Reference {
    pub(crate) fn new(config: KvCacheConfig, n_pages: usize, n_slots: usize) -> Self {
        let mut new = Self {
            max_resident: 0,
            config,
            n_pages,
            blank: (0..n_pages as u32).rev().collect(),
            cached: Vec::new(),
            used: HashMap::new(),
            indexed: HashMap::new(),
            leases: HashMap::new(),
            sessions: HashMap::new(),
            states: RefStates::new(n_slots),
            stats: KvCacheStats::default(),
            now: 0,
        };
        new.max_resident = new.limit();
        new
    }

    fn limit(&self) -> usize {
        let bytes = self.config.max_bytes_total - self.states.n_slots as u64 * STATE_BYTES;
        ((bytes / PAGE_BYTES) as usize).min(self.n_pages)
    }

    fn shares(&self) -> bool {
        self.config.enabled && self.config.prefix_sharing
    }

    fn pins(&self, page: u32) -> usize {
        self.leases.values().filter(|lease| lease.pages.contains(&page)).count()
    }

    fn session_refs(&self, page: u32) -> usize {
        self.sessions.values().filter(|session| session.pages.contains(&page)).count()
    }

    fn resident(&self) -> usize {
        self.n_pages - self.blank.len()
    }

    fn n_pinned(&self) -> usize {
        (0..self.n_pages as u32).filter(|page| self.pins(*page) > 0).count()
    }

    pub(crate) fn content_of(&self, page: u32) -> Option<&Content> {
        self.indexed.iter().find(|(_, pages)| pages.contains(&page)).map(|(content, _)| content)
    }

    /// What other requests can find.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &Content> {
        self.indexed.keys()
    }

    fn unindex(&mut self, page: u32) {
        let content = self.content_of(page).cloned();
        self.indexed.values_mut().for_each(|pages| pages.retain(|other| *other != page));
        self.indexed.retain(|_, pages| !pages.is_empty());
        if let Some(content) = content
            && !self.indexed.contains_key(&content)
        {
            self.lose_snapshot(&content);
        }
    }

    fn found(&self, salt: &str, tokens: &[TokenId]) -> Vec<u32> {
        let n_usable = tokens.len().saturating_sub(1) / PAGE_LEN;
        let prefixes = (1..=n_usable).map(|n_pages| tokens[..n_pages * PAGE_LEN].to_vec());
        prefixes.map_while(|prefix| Some(self.indexed.get(&(salt.into(), prefix))?[0])).collect()
    }

    fn retire(&mut self, page: u32, newest: bool) {
        if self.pins(page) + self.session_refs(page) > 0 {
            if newest {
                self.used.insert(page, self.now);
            }
            return;
        }
        let content = self.content_of(page).cloned();
        if !self.config.enabled || !self.config.persist_across_requests {
            self.unindex(page);
        }
        let duplicate = self
            .content_of(page)
            .and_then(|content| self.indexed[content].iter().copied().find(|other| *other != page));
        if let Some(duplicate) = duplicate {
            self.unindex(page);
            if newest {
                let was_cached = self.cached.contains(&duplicate);
                self.cached.retain(|other| *other != duplicate);
                self.cached.extend(was_cached.then_some(duplicate));
                self.used.insert(duplicate, self.now);
            }
        }
        if self.content_of(page).is_some_and(|content| !self.is_useful(content)) {
            self.unindex(page);
        }
        match (self.content_of(page).is_some(), newest) {
            (false, _) => {
                self.blank.push(page);
                self.prune_before(content, false);
            }
            (true, true) => {
                self.cached.push(page);
                self.used.insert(page, self.now);
            }
            (true, false) => self.cached.insert(0, page),
        }
    }

    fn drop_pages(&mut self, session: &str) {
        let entry = self.sessions.get_mut(session).unwrap();
        entry.computed = 0;
        let state = entry.state.take();
        std::mem::take(&mut entry.pages).into_iter().rev().for_each(|page| self.retire(page, true));
        state.into_iter().for_each(|state| self.retire_state(state, true));
    }

    fn evict_pages(&mut self, session: &str) {
        self.now += 1;
        let entry = self.sessions.get_mut(session).unwrap();
        entry.computed = 0;
        let used = entry.used;
        let pages = std::mem::take(&mut entry.pages);
        let state = entry.state.take();
        let is_oldest = self.cached.first().is_none_or(|page| used <= self.used[page]);
        let is_newer = |page: &u32| {
            !is_oldest || self.pins(*page) > 0 || self.used.get(page).is_some_and(|at| *at > used)
        };
        let newer = pages.iter().rposition(is_newer).map_or(0, |last| last + 1);
        pages[..newer].iter().rev().for_each(|page| self.retire(*page, true));
        pages[newer..].iter().for_each(|page| self.retire(*page, false));
        state.into_iter().for_each(|state| self.retire_state(state, false));
        self.stats.evictions += 1;
    }

    fn evict_oldest(&mut self) -> bool {
        let with_pages = self.sessions.iter().filter(|(_, session)| !session.pages.is_empty());
        let session =
            with_pages.min_by_key(|(_, session)| session.used).map(|(id, entry)| (id.clone(), entry.used));
        let page = self.cached.first().map(|page| (*page, self.used[page]));
        match (session, page) {
            (None, None) => return false,
            (Some((id, used)), page) if page.is_none_or(|(_, at)| used <= at) => self.evict_pages(&id),
            (_, page) => self.forget_page(page.unwrap().0, true),
        }
        true
    }

    fn take_page(&mut self) -> Option<u32> {
        while self.resident() >= self.max_resident || self.blank.is_empty() {
            if !self.evict_oldest() {
                return None;
            }
        }
        let page = self.blank.pop();
        self.stats.peak_bytes = self.stats.peak_bytes.max(self.bytes());
        page
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.resident() as u64 * PAGE_BYTES + self.n_used_states() as u64 * STATE_BYTES
    }

    fn unpin(&mut self, page: u32) {
        self.used.insert(page, self.now);
        self.retire(page, true);
    }

    fn keep_within_limit(&mut self) {
        while self.resident() > self.max_resident && self.evict_oldest() {}
    }

    pub(crate) fn lease(&mut self, id: usize, salt: &str, session: Option<&str>, tokens: &[TokenId]) {
        let mut found = if self.shares() { self.found(salt, tokens) } else { Vec::new() };
        let branch = found.len() * PAGE_LEN;
        found.truncate(self.known_len(&found, branch) / PAGE_LEN);
        let own = session.map_or(0, |id| {
            let session = &self.sessions[id];
            let len = session.computed.min(session.kept).min(tokens.len().saturating_sub(1));
            if len < session.computed { self.known_len(&session.pages, len) } else { len }
        });
        let mut lease = RefLease { salt: salt.into(), branch, ..RefLease::default() };
        if let Some(session) = session
            && own > found.len() * PAGE_LEN
        {
            let session = self.sessions.get_mut(session).unwrap();
            lease.pages = std::mem::take(&mut session.pages);
            lease.computed = std::mem::take(&mut session.computed);
            lease.state = session.state.take();
            self.leases.insert(id, lease);
            self.shrink(id, own);
        } else {
            self.cached.retain(|page| !found.contains(page));
            lease.computed = found.len() * PAGE_LEN;
            lease.state = found.last().and_then(|page| self.snapshot_of(*page));
            lease.pages = found;
            self.leases.insert(id, lease);
            self.keep_read_states();
            session.into_iter().for_each(|session| self.drop_pages(session));
        }
    }

    /// Counts the lease as a hit or a miss when it first computes something.
    pub(crate) fn is_new(&mut self, id: usize) {
        let lease = self.leases.get_mut(&id).unwrap();
        lease.unconfirmed = Some(lease.computed);
    }

    /// The copies to make, or the number of missing pages.
    pub(crate) fn reserve(&mut self, id: usize, len: usize) -> Result<Vec<(PageId, PageId)>, usize> {
        let RefLease { pages, computed, .. } = self.leases[&id].clone();
        let index = (computed % PAGE_LEN > 0 && len > computed).then_some(computed / PAGE_LEN);
        let from = index.map(|index| pages[index]);
        let n_pages = len.div_ceil(PAGE_LEN);
        let copy = from.is_some_and(|page| self.pins(page) > 1);
        let n_needed = n_pages.saturating_sub(pages.len()) + usize::from(copy);
        let n_available = self.max_resident.saturating_sub(self.n_pinned());
        if n_needed > n_available {
            return Err(n_needed - n_available);
        }
        while self.leases[&id].pages.len() < n_pages {
            let page = self.take_page().unwrap();
            self.leases.get_mut(&id).unwrap().pages.push(page);
        }
        let (Some(index), Some(from)) = (index, from) else {
            return Ok(Vec::new());
        };
        if (self.pins(from) + self.session_refs(from) > 1 || self.content_of(from).is_some())
            && let Some(to) = self.take_page()
        {
            self.leases.get_mut(&id).unwrap().pages[index] = to;
            self.stats.copied_pages += 1;
            self.unpin(from);
            return Ok(vec![(PageId(from), PageId(to))]);
        }
        let content = self.content_of(from).cloned();
        self.unindex(from);
        self.prune_before(content, false);
        Ok(Vec::new())
    }

    pub(crate) fn commit(&mut self, id: usize, token_ids: &[TokenId], computed: usize) {
        let lease = self.leases.get_mut(&id).unwrap();
        self.stats.computed_tokens += (computed - lease.computed) as u64;
        match lease.unconfirmed.take() {
            None => {}
            Some(0) => self.stats.misses += 1,
            Some(n_reused) => {
                self.stats.hits += 1;
                self.stats.reused_tokens += n_reused as u64;
            }
        }
        self.advance(id, token_ids, computed);
    }

    /// As `commit` for positions that were read back from elsewhere.
    pub(crate) fn advance(&mut self, id: usize, token_ids: &[TokenId], computed: usize) {
        let lease = self.leases.get_mut(&id).unwrap();
        let before = std::mem::replace(&mut lease.computed, computed);
        let lease = lease.clone();
        for (index, page) in lease.pages.iter().enumerate().take(computed / PAGE_LEN) {
            if self.shares() && self.content_of(*page).is_none() {
                let content = (lease.salt.clone(), token_ids[..(index + 1) * PAGE_LEN].to_vec());
                let pages = self.indexed.entry(content).or_default();
                pages.insert(pages.len().min(1), *page);
            }
        }
        if before < computed {
            self.settle_states(id, token_ids);
        }
    }

    fn shrink(&mut self, id: usize, len: usize) {
        let len = self.rewind_state(id, len);
        let lease = self.leases.get_mut(&id).unwrap();
        lease.computed = lease.computed.min(len);
        lease.unconfirmed = lease.unconfirmed.map(|n_reused| n_reused.min(len));
        lease.trail = if lease.trail > lease.computed { 0 } else { lease.trail };
        while self.leases[&id].pages.len() > self.leases[&id].computed.div_ceil(PAGE_LEN) {
            let page = self.leases.get_mut(&id).unwrap().pages.pop().unwrap();
            self.unpin(page);
        }
    }

    pub(crate) fn truncate(&mut self, id: usize, len: usize) {
        self.shrink(id, len);
        self.keep_within_limit();
    }

    pub(crate) fn fork(&mut self, id: usize, fork: usize) {
        let mut lease = self.leases[&id].clone();
        lease.pages.truncate(lease.computed.div_ceil(PAGE_LEN));
        lease.unconfirmed = None;
        lease.step = StepStates::default();
        lease.branch = 0;
        lease.trail = 0;
        self.leases.insert(fork, lease);
    }

    pub(crate) fn release(&mut self, id: usize) {
        self.truncate(id, 0);
        self.leases.remove(&id);
    }

    /// The context of the call; `None` if it is rejected.
    pub(crate) fn begin_turn(&mut self, id: &str, append: bool, tokens: &[TokenId]) -> Option<Vec<TokenId>> {
        let first = !self.sessions.contains_key(id);
        let token_ids = self.log(id).unwrap_or_default();
        let common = token_ids.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let kept = if append { token_ids.len() } else { common };
        let context = if append { [token_ids, tokens].concat() } else { tokens.to_vec() };
        if self.is_busy(id) == Some(true) {
            return None;
        }
        let is_full = first && self.sessions.len() >= self.config.max_sessions;
        let idle = self.sessions.iter().filter(|(_, session)| !session.busy);
        let oldest = idle.min_by_key(|(_, session)| session.used).map(|(id, _)| id.clone());
        if is_full && oldest.is_none() || context.len().div_ceil(PAGE_LEN) > self.max_resident {
            return None;
        }
        if is_full {
            self.now += 1;
            self.drop_session(&oldest.unwrap());
            self.now += 1;
            self.stats.evictions += 1;
        }
        let new = RefSession {
            pages: Vec::new(),
            computed: 0,
            token_ids: Vec::new(),
            used: 0,
            busy: true,
            kept,
            first,
            state: None,
        };
        let session = self.sessions.entry(id.into()).or_insert(new);
        (session.busy, session.first, session.kept, session.used) = (true, first, kept, self.now);
        Some(context)
    }

    pub(crate) fn end_turn(&mut self, id: &str, lease: Option<usize>, token_ids: Option<&[TokenId]>) {
        let session = self.sessions.get_mut(id).unwrap();
        session.busy = false;
        let (kept, n_own) = (session.kept, session.computed);
        session.token_ids = token_ids.map_or(session.token_ids.clone(), <[_]>::to_vec);
        let n_valid = token_ids.map_or(kept, <[_]>::len);
        if let Some(lease) = lease {
            self.drop_pages(id);
            self.shrink(lease, n_valid);
            let RefLease { pages, computed, .. } = self.leases[&lease].clone();
            let last = pages.last().copied().filter(|_| computed % PAGE_LEN > 0);
            if last.is_some_and(|last| self.pins(last) + self.session_refs(last) > 1) {
                self.shrink(lease, computed - computed % PAGE_LEN);
            }
            let lease = self.leases.remove(&lease).unwrap();
            self.used.extend(lease.pages.iter().map(|page| (*page, self.now)));
            let session = self.sessions.get_mut(id).unwrap();
            (session.pages, session.computed, session.state) = (lease.pages, lease.computed, lease.state);
            if let Some(state) = lease.state {
                self.states.used.insert(state, self.now);
            }
        } else if token_ids.is_some_and(|token_ids| n_own > token_ids.len().min(kept)) {
            self.drop_pages(id);
        }
        self.now += 1;
        self.sessions.get_mut(id).unwrap().used = self.now;
        if !self.config.enabled {
            self.drop_pages(id);
        }
        if self.sessions[id].first && token_ids.is_none() || !self.config.persist_across_requests {
            self.drop_session(id);
        }
        self.keep_within_limit();
    }

    pub(crate) fn drop_session(&mut self, id: &str) {
        self.drop_pages(id);
        self.sessions.remove(id);
    }

    pub(crate) fn is_busy(&self, id: &str) -> Option<bool> {
        self.sessions.get(id).map(|session| session.busy)
    }

    pub(crate) fn log(&self, id: &str) -> Option<&[TokenId]> {
        self.sessions.get(id).map(|session| &session.token_ids[..])
    }

    pub(crate) fn trim(&mut self, max_bytes: u64) {
        while self.bytes() > max_bytes && (self.evict_oldest() || self.evict_oldest_state()) {}
    }

    pub(crate) fn set_max_bytes(&mut self, max_bytes: u64) {
        self.config.max_bytes_total = max_bytes;
        self.max_resident = self.limit();
        self.keep_within_limit();
    }

    pub(crate) fn clear(&mut self) {
        let mut idle: Vec<_> = self.sessions.iter().filter(|(_, session)| !session.busy).collect();
        idle.sort_by_key(|(_, session)| session.used);
        let idle: Vec<_> = idle.into_iter().map(|(id, _)| id.clone()).collect();
        idle.iter().for_each(|id| self.drop_session(id));
        while let Some(page) = self.cached.first() {
            self.forget_page(*page, false);
        }
    }

    /// What the cache should report.
    pub(crate) fn expected_stats(&self) -> KvCacheStats {
        let mut stats = self.stats;
        stats.current_sessions = self.sessions.len();
        stats.busy_sessions = self.sessions.values().filter(|session| session.busy).count();
        stats.current_leases = self.leases.len();
        stats.n_pages = self.n_pages;
        stats.pinned_pages = self.n_pinned();
        stats.cached_pages = self.cached.len();
        stats.current_bytes = self.bytes();
        stats.state_slots = self.states.n_slots;
        stats.pinned_states = self.n_pinned_states();
        stats.snapshots = self.states.snapshots.len();
        let pool_bytes = self.n_pages as u64 * PAGE_BYTES + self.states.n_slots as u64 * STATE_BYTES;
        stats.max_bytes = self.config.max_bytes_total.min(pool_bytes);
        stats
    }
}
