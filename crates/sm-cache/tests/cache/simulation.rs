//! Random calls: agreement with the reference, the right content in every page and state, and no broken invariant.

use proptest::prelude::{ProptestConfig, any, proptest};
use sm_cache::{
    Arrival, CacheError, KvCache, KvCacheConfig, KvHandle, LeaseOwner, LeaseRequest, SessionId, SessionMode,
    Turn, TurnEnd, TurnRequest,
};
use sm_tensor::{PageId, TokenId};

use crate::disk::Disk;
use crate::findable::Findable;
use crate::reference::{Content, Reference};
use crate::world::{Memory, PAGE_BYTES, PAGE_LEN, STATE_BYTES, namespace, state_after, stateful_pool};

const N_PAGES: usize = 12;
const SALT: [&str; 2] = ["", "other"];

/// A sequence that is computed step by step.
#[derive(Debug)]
struct Sequence {
    id: usize,
    handle: Option<KvHandle>,
    turn: Option<(Turn, String)>,
    salt: &'static str,
    token_ids: Vec<TokenId>,
}

#[derive(Debug)]
struct Simulation {
    cache: KvCache,
    reference: Reference,
    memory: Memory,
    sequences: Vec<Sequence>,
    next_id: usize,
    n_slots: usize,
    disk: Disk,
    findable: Findable,
}

/// The rows of a sequence in a step.
#[derive(Debug)]
struct Rows {
    index: usize,
    start: usize,
    /// The first position that may be rejected.
    certain: usize,
    end: usize,
    drafts: Vec<TokenId>,
    n_accepted: usize,
}

/// How a step ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    Failed,
    NotRun,
}

/// One of a few beginnings and a short rest, so that prefixes collide.
fn text(choice: u32) -> Vec<TokenId> {
    let beginning = (0..4 * (choice % 5)).map(|position| position * (1 + choice / 5 % 2));
    let rest = (0..choice / 10 % 4).map(|position| 100 + choice / 40 % 3 + position);
    beginning.chain(rest).chain([7]).map(TokenId).collect()
}

impl Simulation {
    fn new(config: &KvCacheConfig, n_slots: usize) -> Self {
        let mut cache = KvCache::new(config.clone(), stateful_pool(N_PAGES, n_slots)).unwrap();
        Self {
            disk: Disk::watching(&mut cache),
            findable: Findable::watching(&mut cache),
            cache,
            reference: Reference::new(config.clone(), N_PAGES, n_slots),
            memory: Memory::new(N_PAGES, n_slots),
            sequences: Vec::new(),
            next_id: 0,
            n_slots,
        }
    }

    fn run(&mut self, op: u8, which: usize, choice: u32) {
        self.reference.now += 1;
        let picked = if self.sequences.is_empty() { None } else { Some(which % self.sequences.len()) };
        match (op, picked) {
            (0..2, _) => self.begin_request(SALT[which % 2], choice),
            (2..5, _) => self.begin_turn(["a", "b", "c", "d"][which % 4], choice),
            (5..11, Some(index)) => self.step(&[index], choice, Outcome::Committed),
            (11, Some(index)) => self.step(&[index], choice, Outcome::NotRun),
            (12, Some(_)) => self.step(&Vec::from_iter(0..self.sequences.len()), choice, Outcome::Failed),
            (13, Some(_)) => self.step(&Vec::from_iter(0..self.sequences.len()), choice, Outcome::Committed),
            (14, Some(index)) => self.preempt(index),
            (15, Some(index)) => self.truncate(index, choice as usize),
            (16, Some(index)) => self.fork(index),
            (17..20, Some(index)) => self.finish(index, choice),
            (20, _) => self.drop_session(["a", "b", "c", "d"][which % 4]),
            (21, _) => self.change_limits(which, u64::from(choice) % 16 * PAGE_BYTES),
            (22..24, _) => self.restore(SALT[which % 2], choice),
            _ => {}
        }
    }

    fn add(&mut self, salt: &'static str, token_ids: Vec<TokenId>, turn: Option<(Turn, String)>) {
        let id = self.next_id;
        self.next_id += 1;
        self.sequences.push(Sequence { id, handle: None, turn, salt, token_ids });
        if !id.is_multiple_of(3) {
            self.lease(self.sequences.len() - 1, Arrival::New);
        }
    }

    fn begin_request(&mut self, salt: &'static str, choice: u32) {
        self.add(salt, text(choice), None);
    }

    fn begin_turn(&mut self, name: &str, choice: u32) {
        let session = SessionId::new(name).unwrap();
        let append = choice.is_multiple_of(2);
        let mode = if append { SessionMode::Append } else { SessionMode::Prefix };
        let mut tokens = text(choice / 2);
        if !append && let Some(token_ids) = self.reference.log(name) {
            // Resends the conversation, perhaps without its last tokens.
            tokens =
                [&token_ids[..token_ids.len() - token_ids.len().min(choice as usize % 3)], &tokens].concat();
        }
        tokens.truncate(20);
        let request = TurnRequest { session: &session, mode, namespace: &namespace(""), tokens: &tokens };
        let expected = self.reference.begin_turn(name, append, &tokens);
        match self.cache.begin_turn(&request) {
            Ok((turn, context)) => {
                assert_eq!(Some(&context), expected.as_ref());
                self.add("", context, Some((turn, name.into())));
            }
            Err(error) => {
                assert_eq!(expected, None, "{error}");
            }
        }
    }

    fn lease(&mut self, index: usize, arrival: Arrival) {
        let sequence = &mut self.sequences[index];
        let namespace = namespace(sequence.salt);
        let (owner, session) = match &sequence.turn {
            Some((turn, session)) => (LeaseOwner::Turn(turn), Some(session.as_str())),
            None => (LeaseOwner::Request(&namespace), None),
        };
        let shared = self.cache.shared_len(&namespace, &sequence.token_ids);
        let request = LeaseRequest { owner, tokens: &sequence.token_ids, max_len: 0, arrival };
        let handle = self.cache.lease(&request);
        assert!(self.cache.computed(&handle) >= shared);
        sequence.handle = Some(handle);
        self.reference.lease(sequence.id, sequence.salt, session, &sequence.token_ids);
        if arrival == Arrival::New {
            self.reference.is_new(sequence.id);
        }
    }

    /// One step of some sequences: up to seven positions of each, and up to two drafts.
    fn step(&mut self, indices: &[usize], choice: u32, outcome: Outcome) {
        let mut copies = Vec::new();
        let mut steps = Vec::new();
        for (index, choice) in indices.iter().zip(choice..) {
            steps.extend(self.reserve(*index, choice, &mut copies));
        }
        if outcome == Outcome::NotRun {
            // Others may run, so pages are copied all the same.
            return self.copy(&copies);
        }
        self.copy(&copies);
        self.check_apart(&steps);
        // No span may depend on another, so any order will do.
        match choice.is_multiple_of(2) {
            true => steps.iter().for_each(|rows| self.compute(rows, outcome)),
            false => steps.iter().rev().for_each(|rows| self.compute(rows, outcome)),
        }
        for rows in &steps {
            match outcome {
                Outcome::Failed => {
                    let Sequence { id, handle, .. } = &self.sequences[rows.index];
                    let left = self.cache.truncate(handle.as_ref().unwrap(), rows.start);
                    self.reference.truncate(*id, rows.start);
                    assert_eq!(left, self.reference.leases[id].computed);
                }
                _ => self.commit(rows, choice),
            }
        }
    }

    /// Copies pages, when what was evicted has been saved.
    fn copy(&mut self, copies: &[(PageId, PageId)]) {
        self.disk.spill(&self.memory);
        self.memory.copy(copies);
    }

    /// Reserves pages and states for a sequence; `None` if there is no room.
    fn reserve(&mut self, index: usize, choice: u32, copies: &mut Vec<(PageId, PageId)>) -> Option<Rows> {
        if self.sequences[index].handle.is_none() {
            self.lease(index, Arrival::New);
            return None;
        }
        let Sequence { id, handle, token_ids, .. } = &self.sequences[index];
        let handle = handle.as_ref().unwrap();
        let start = self.cache.computed(handle);
        let certain = token_ids.len().min(start + 1 + choice as usize % 7);
        let n_drafts = choice as usize % 3;
        let end = certain + n_drafts;
        let n_before = copies.len();
        let result = self.cache.reserve(handle, end, copies);
        let too_long = end.div_ceil(PAGE_LEN) > self.cache.max_pages();
        match (result, too_long) {
            (Err(CacheError::ResourceLimit { .. }), true) => return None,
            (Err(CacheError::OutOfPages { missing, .. }), false) => {
                assert_eq!(self.reference.reserve(*id, end), Err(missing));
                return None;
            }
            (Ok(()), false) => {
                assert_eq!(self.reference.reserve(*id, end).as_deref(), Ok(&copies[n_before..]));
            }
            (result, too_long) => panic!("{result:?} with too_long = {too_long}"),
        }
        let expected = self.reference.reserve_states(*id, end - start, certain - start);
        match self.cache.reserve_states(handle, end - start, certain - start) {
            Ok(()) => assert_eq!(expected, Ok(())),
            Err(CacheError::OutOfStates { missing, .. }) => {
                assert_eq!(expected, Err(missing));
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        let drafts = vec![TokenId(choice % 3), TokenId(501)];
        Some(Rows { index, start, certain, end, drafts, n_accepted: choice as usize / 7 % (n_drafts + 1) })
    }

    /// Checks that no span of a step touches what another one writes.
    fn check_apart(&self, steps: &[Rows]) {
        let plan = |rows: &Rows| self.cache.state_plan(self.sequences[rows.index].handle.as_ref().unwrap());
        let plans: Vec<_> = steps.iter().filter_map(plan).collect();
        for (index, plan) in plans.iter().enumerate() {
            let written = plan.kept.iter().map(|kept| kept.slot).chain([plan.write]);
            for slot in written.clone() {
                assert_eq!(written.clone().filter(|other| *other == slot).count(), 1, "{plan:?}");
                for (_, other) in plans.iter().enumerate().filter(|(other, _)| *other != index) {
                    let kept = other.kept.iter().map(|kept| kept.slot);
                    let touched = kept.chain([other.write]).chain(other.read);
                    assert!(touched.into_iter().all(|other| other != slot), "{plan:?} and {other:?}");
                }
            }
        }
    }

    /// The executor's part: writes pages and states of a sequence's rows; garbage if the step fails.
    fn compute(&mut self, rows: &Rows, outcome: Outcome) {
        let Sequence { handle, salt, token_ids, .. } = &self.sequences[rows.index];
        let handle = handle.as_ref().unwrap();
        let mut tokens = [&token_ids[..], &rows.drafts].concat();
        if outcome == Outcome::Failed {
            tokens[rows.start..].fill(TokenId(9999));
        }
        self.memory.write(self.cache.pages(handle), rows.start..rows.end, salt, &tokens);
        if let Some(plan) = self.cache.state_plan(handle) {
            self.memory.run(&plan, salt, rows.start, &tokens[rows.start..rows.end]);
        }
    }

    fn commit(&mut self, rows: &Rows, choice: u32) {
        let Sequence { id, handle, token_ids, .. } = &mut self.sequences[rows.index];
        let computed = rows.certain + rows.n_accepted;
        if rows.certain == token_ids.len() {
            token_ids.extend_from_slice(&rows.drafts[..rows.n_accepted]);
        }
        let computed = computed.min(token_ids.len());
        self.cache.commit(handle.as_ref().unwrap(), token_ids, computed);
        self.reference.commit(*id, token_ids, computed);
        if computed == token_ids.len() {
            token_ids.push(TokenId(choice % 3));
        }
    }

    /// Restores pages and states that were evicted.
    fn restore(&mut self, salt: &'static str, choice: u32) {
        let namespace = namespace(salt);
        let tokens = [text(choice), vec![TokenId(8); 2]].concat();
        let keys: Vec<_> = self.cache.page_keys(&namespace, &tokens).collect();
        let id = self.next_id;
        let owner = LeaseOwner::Request(&namespace);
        self.next_id += 1;
        let request = LeaseRequest { owner, tokens: &tokens, max_len: 0, arrival: Arrival::Resumed };
        let handle = self.cache.lease(&request);
        self.reference.lease(id, salt, None, &tokens);
        let mut start = self.cache.computed(&handle);
        while let Some(stored) = keys.get(start / PAGE_LEN).and_then(|key| self.disk.get(*key)) {
            if self.cache.config().prefix_sharing && tokens.len() > start + PAGE_LEN {
                assert_eq!(self.cache.next_key(&handle, &tokens), Some(keys[start / PAGE_LEN]));
            }
            let end = start + PAGE_LEN;
            let is_reserved = self.cache.reserve(&handle, end, &mut Vec::new()).is_ok();
            assert_eq!(self.reference.reserve(id, end).is_ok(), is_reserved);
            if !is_reserved {
                break;
            }
            if let Some(state) = stored.state {
                let slot = self.cache.reserve_restored_state(&handle, end);
                assert_eq!(self.reference.reserve_restored_state(id, end).is_ok(), slot.is_ok());
                self.disk.spill(&self.memory);
                if let Ok(slot) = slot {
                    self.memory.set_state(slot, Some(state));
                }
            }
            self.disk.spill(&self.memory);
            self.memory.set_page(self.cache.pages(&handle)[start / PAGE_LEN], &stored.page);
            self.cache.commit_restored(&handle, &tokens, end);
            self.reference.advance(id, &tokens, end);
            start = end;
        }
        self.cache.release(handle);
        self.reference.release(id);
    }

    fn preempt(&mut self, index: usize) {
        let sequence = &mut self.sequences[index];
        match sequence.handle.take() {
            Some(handle) => {
                self.cache.release(handle);
                self.reference.release(sequence.id);
            }
            None => self.lease(index, Arrival::Resumed),
        }
    }

    fn truncate(&mut self, index: usize, choice: usize) {
        let sequence = &self.sequences[index];
        if let Some(handle) = &sequence.handle {
            let len = choice % (self.cache.computed(handle) + 1);
            let left = self.cache.truncate(handle, len);
            self.reference.truncate(sequence.id, len);
            assert!(left <= len && left == self.reference.leases[&sequence.id].computed);
        }
    }

    fn fork(&mut self, index: usize) {
        let Sequence { id, handle: Some(handle), salt, token_ids, .. } = &self.sequences[index] else {
            return;
        };
        let (id, salt, token_ids) = (*id, *salt, token_ids.clone());
        let handle = Some(self.cache.fork(handle));
        self.reference.fork(id, self.next_id);
        self.sequences.push(Sequence { id: self.next_id, handle, turn: None, salt, token_ids });
        self.next_id += 1;
    }

    fn finish(&mut self, index: usize, choice: u32) {
        let Sequence { id, handle, turn, mut token_ids, .. } = self.sequences.swap_remove(index);
        let Some((turn, session)) = turn else {
            return handle.into_iter().for_each(|handle| {
                self.cache.release(handle);
                self.reference.release(id);
            });
        };
        // Trims some tokens, or fails.
        token_ids.truncate(token_ids.len() - token_ids.len().min(choice as usize % 4));
        let lease = handle.is_some().then_some(id);
        if choice.is_multiple_of(5) {
            self.cache.end_turn(turn, handle, TurnEnd::Rollback);
            self.reference.end_turn(&session, lease, None);
        } else {
            self.cache.end_turn(turn, handle, TurnEnd::Commit(&token_ids));
            self.reference.end_turn(&session, lease, Some(&token_ids));
        }
    }

    fn drop_session(&mut self, name: &str) {
        let session = SessionId::new(name).unwrap();
        let result = self.cache.drop_session(&session);
        match self.reference.is_busy(name) {
            None => assert_eq!(result, Err(CacheError::UnknownSession { session })),
            Some(true) => assert_eq!(result, Err(CacheError::SessionBusy { session })),
            Some(false) => {
                assert_eq!(result, Ok(()));
                self.reference.drop_session(name);
            }
        }
    }

    fn change_limits(&mut self, which: usize, bytes: u64) {
        match which % 4 {
            0 => {
                self.cache.clear();
                self.reference.clear();
            }
            1 => {
                let left = self.cache.trim(bytes);
                self.reference.trim(bytes);
                assert_eq!(left, self.reference.expected_stats().current_bytes);
            }
            _ => {
                let bytes = bytes.max(4 * PAGE_BYTES) + 3 + self.n_slots as u64 * STATE_BYTES;
                self.cache.set_max_bytes_total(bytes).unwrap();
                self.reference.set_max_bytes(bytes);
            }
        }
    }

    fn verify(&self) {
        self.cache.check().unwrap();
        self.cache
            .check_leases(self.sequences.iter().filter_map(|sequence| sequence.handle.as_ref()))
            .unwrap();
        assert_eq!(self.cache.stats(), self.reference.expected_stats());
        for sequence in &self.sequences {
            let Some(handle) = &sequence.handle else { continue };
            let (pages, computed) = (self.cache.pages(handle), self.cache.computed(handle));
            let expected = &self.reference.leases[&sequence.id];
            let ids: Vec<_> = pages.iter().map(|page| page.0).collect();
            assert_eq!((&ids, computed), (&expected.pages, expected.computed));
            self.memory.verify(pages, computed, sequence.salt, &sequence.token_ids);
            let state = self.cache.state(handle).map(|slot| self.memory.state(slot).unwrap());
            let is_known = self.n_slots > 0 && computed > 0;
            let expected = is_known.then(|| state_after(sequence.salt, &sequence.token_ids[..computed]));
            assert_eq!(state, expected, "after {computed} positions of {sequence:?}");
        }
        for page in self.cache.snapshots() {
            let (salt, prefix) = self.reference.content_of(page.page.0).unwrap();
            let state = self.memory.state(page.snapshot.unwrap());
            assert_eq!(state, Some(state_after(salt, prefix)), "{page:?}");
            assert!(self.reference.states.snapshots.contains_key(&(salt.clone(), prefix.clone())));
        }
        let cached: Vec<_> = self.cache.evictable().collect();
        assert_eq!(cached.iter().map(|page| page.page.0).collect::<Vec<_>>(), self.reference.cached);
        for page in cached {
            let (salt, prefix) = self.reference.content_of(page.page.0).unwrap();
            assert!(prefix.ends_with(page.tokens), "{page:?}");
            assert_eq!(self.cache.page_keys(&namespace(salt), prefix).last(), Some(page.key));
            self.memory.verify_page(page.page, salt, prefix);
        }
        let contents = self.reference.contents();
        let key = |(salt, tokens): &Content| self.cache.page_keys(&namespace(salt), tokens).last().unwrap();
        assert_eq!(self.findable.keys(), contents.map(key).collect());
        for name in ["a", "b", "c", "d"] {
            let token_ids = self.cache.session_token_ids(&SessionId::new(name).unwrap()).ok();
            assert_eq!(token_ids, self.reference.log(name));
        }
    }
}

fn simulate(config: &KvCacheConfig, n_slots: usize, ops: &[(u8, u8, u16)]) {
    let mut simulation = Simulation::new(config, n_slots);
    for (op, which, choice) in ops {
        simulation.run(*op, usize::from(*which), u32::from(*choice));
        simulation.verify();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_reference(
        ops in proptest::collection::vec((0u8..24, any::<u8>(), any::<u16>()), 0..200),
        max_sessions in 2usize..5,
        max_pages in 4u64..14,
        (keeps, shares) in (0u8..8, 0u8..6),
        n_slots in 0usize..14,
    ) {
        let n_slots = n_slots.saturating_sub(4);
        let config = KvCacheConfig::new().enabled(keeps != 1).persist_across_requests(keeps != 2).prefix_sharing(shares != 1).max_sessions(max_sessions).max_bytes_total(max_pages * PAGE_BYTES + n_slots as u64 * STATE_BYTES);
        simulate(&config, n_slots, &ops);
    }
}

/// Found by the test above, once in ten thousand cases: an idle session is older than a cached page that follows its pages.
#[test]
fn no_page_outlives_its_predecessor() {
    let ops = [
        (2, 3, 6136),
        (21, 14, 21328),
        (5, 0, 0),
        (5, 0, 3587),
        (5, 0, 44861),
        (0, 0, 11700),
        (17, 20, 0),
        (5, 0, 0),
        (5, 0, 39500),
        (17, 0, 0),
        (22, 126, 17028),
        (0, 32, 54868),
        (5, 0, 0),
        (16, 0, 0),
        (2, 0, 63614),
        (17, 184, 0),
        (17, 11, 34704),
        (15, 0, 37662),
        (5, 0, 10277),
        (14, 0, 0),
        (22, 20, 60288),
    ];
    let config = KvCacheConfig::new().max_sessions(2).max_bytes_total(4 * PAGE_BYTES);
    simulate(&config, 0, &ops);
}

/// Found by the test above, once in forty thousand cases: others used the end of an idle session, but a duplicate of its
/// beginning.
#[test]
fn no_page_outlives_a_predecessor_whose_duplicate_was_used() {
    let ops = [
        (22, 0, 0),
        (0, 0, 0),
        (22, 0, 0),
        (16, 0, 0),
        (2, 200, 15696),
        (22, 0, 0),
        (5, 203, 50053),
        (2, 13, 1252),
        (2, 0, 0),
        (17, 32, 0),
        (15, 2, 15),
        (17, 112, 0),
        (5, 29, 20843),
        (5, 29, 12923),
        (5, 30, 0),
        (0, 36, 63628),
        (13, 0, 1135),
        (5, 123, 0),
        (17, 199, 56),
        (5, 55, 22801),
        (5, 0, 0),
        (17, 127, 0),
        (0, 0, 27000),
        (0, 0, 30),
        (0, 0, 50),
        (5, 2, 0),
        (5, 0, 0),
        (5, 0, 625),
        (12, 0, 0),
    ];
    let config = KvCacheConfig::new().max_sessions(2).max_bytes_total(8 * PAGE_BYTES);
    simulate(&config, 0, &ops);
}

/// Found by the test above, once in four hundred thousand cases: a session is evicted for its state, and a cached page that
/// follows its pages is older.
#[test]
fn no_page_outlives_a_predecessor_that_was_evicted_for_its_state() {
    let ops = [
        (2, 92, 39686),
        (17, 0, 54098),
        (5, 0, 0),
        (0, 0, 0),
        (17, 0, 0),
        (0, 8, 23101),
        (16, 0, 0),
        (5, 5, 0),
        (16, 0, 0),
        (22, 0, 0),
        (17, 0, 0),
        (22, 0, 0),
        (0, 0, 0),
        (17, 43, 0),
        (2, 84, 162),
        (17, 43, 0),
        (5, 188, 87),
        (11, 0, 15),
        (0, 0, 51036),
        (5, 88, 7244),
        (5, 10, 9386),
        (2, 41, 29562),
        (17, 11, 221),
        (17, 223, 1230),
        (17, 56, 0),
        (5, 0, 0),
        (5, 0, 17),
        (0, 19, 1),
        (5, 29, 9663),
        (17, 66, 0),
        (0, 0, 0),
        (5, 14, 48899),
        (22, 90, 5572),
    ];
    let config = KvCacheConfig::new().max_sessions(2).max_bytes_total(7 * PAGE_BYTES + 6 * STATE_BYTES);
    simulate(&config, 6, &ops);
}
