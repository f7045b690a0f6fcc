//! Random sequences of calls: agreement with the reference, right content in every page, and no broken invariant.

use proptest::prelude::{ProptestConfig, any, proptest};
use sm_cache::{
    Arrival, CacheError, KvCache, KvCacheConfig, KvHandle, LeaseOwner, LeaseRequest, SessionId, SessionMode,
    Turn, TurnEnd, TurnRequest,
};
use sm_tensor::TokenId;

use crate::reference::Reference;
use crate::world::{Memory, PAGE_BYTES, PAGE_LEN, namespace, pool};

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
}

/// One of four beginnings and a short rest, so that prefixes meet.
fn text(choice: u32) -> Vec<TokenId> {
    let beginning = (0..4 * (choice % 5)).map(|position| position * (1 + choice / 5 % 2));
    let rest = (0..choice / 10 % 4).map(|position| 100 + choice / 40 % 3 + position);
    beginning.chain(rest).chain([7]).map(TokenId).collect()
}

impl Simulation {
    fn new(config: &KvCacheConfig) -> Self {
        Self {
            cache: KvCache::new(config.clone(), pool(N_PAGES)).unwrap(),
            reference: Reference::new(config.clone(), N_PAGES),
            memory: Memory::new(N_PAGES),
            sequences: Vec::new(),
            next_id: 0,
        }
    }

    fn run(&mut self, op: u8, which: usize, choice: u32) {
        self.reference.now += 1;
        let picked = if self.sequences.is_empty() { None } else { Some(which % self.sequences.len()) };
        match (op, picked) {
            (0..2, _) => self.begin_request(SALT[which % 2], choice),
            (2..5, _) => self.begin_turn(["a", "b", "c", "d"][which % 4], choice),
            (5..14, Some(index)) => self.step(index, choice),
            (14, Some(index)) => self.preempt(index),
            (15, Some(index)) => self.truncate(index, choice as usize),
            (16, Some(index)) => self.fork(index),
            (17..20, Some(index)) => self.finish(index, choice),
            (20, _) => self.drop_session(["a", "b", "c", "d"][which % 4]),
            (21, _) => self.change_limits(which, u64::from(choice) % 16 * PAGE_BYTES),
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
        let (session, append) = (SessionId::new(name).unwrap(), choice.is_multiple_of(2));
        let mode = if append { SessionMode::Append } else { SessionMode::Prefix };
        let mut tokens = text(choice / 2);
        if !append && let Some(token_ids) = self.reference.log(name) {
            // Resends what was said, perhaps with a change.
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

    /// Computes up to seven positions, samples a token when all are computed, and tries two drafts.
    fn step(&mut self, index: usize, choice: u32) {
        if self.sequences[index].handle.is_none() {
            return self.lease(index, Arrival::New);
        }
        let Sequence { id, handle, token_ids, salt, .. } = &mut self.sequences[index];
        let handle = handle.as_ref().unwrap();
        let before = self.cache.computed(handle);
        let computed = token_ids.len().min(before + 1 + choice as usize % 7);
        let reserved = computed + choice as usize % 3;
        let mut copies = Vec::new();
        let result = self.cache.reserve(handle, reserved, &mut copies);
        let too_long = reserved.div_ceil(PAGE_LEN) > self.cache.max_pages();
        match (result, too_long) {
            (Err(CacheError::ResourceLimit { .. }), true) => return,
            (Err(CacheError::OutOfPages { missing, .. }), false) => {
                assert_eq!(self.reference.reserve(*id, reserved), Err(missing));
                return;
            }
            (Ok(()), false) => assert_eq!(self.reference.reserve(*id, reserved).as_ref(), Ok(&copies)),
            (result, too_long) => panic!("{result:?} with too_long = {too_long}"),
        }
        self.memory.copy(&copies);
        let drafted: Vec<_> = token_ids.iter().copied().chain([TokenId(500), TokenId(501)]).collect();
        self.memory.write(self.cache.pages(handle), before..reserved, salt, &drafted);
        self.cache.commit(handle, token_ids, computed);
        self.reference.commit(*id, token_ids, computed);
        if computed == token_ids.len() {
            token_ids.push(TokenId(choice % 3));
        }
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
            self.cache.truncate(handle, len);
            self.reference.truncate(sequence.id, len);
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
        // Trims some of the text, or fails.
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
                let bytes = bytes.max(4 * PAGE_BYTES) + 3;
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
        }
        let cached: Vec<_> = self.cache.evictable().collect();
        assert_eq!(cached.iter().map(|page| page.page.0).collect::<Vec<_>>(), self.reference.cached);
        for page in cached {
            let (salt, prefix) = self.reference.content_of(page.page.0).unwrap();
            assert!(prefix.ends_with(page.tokens), "{page:?}");
            assert_eq!(self.cache.page_keys(&namespace(salt), prefix).last(), Some(page.key));
            self.memory.verify_page(page.page, salt, prefix);
        }
        for name in ["a", "b", "c", "d"] {
            let token_ids = self.cache.session_log(&SessionId::new(name).unwrap()).ok();
            assert_eq!(token_ids, self.reference.log(name));
        }
    }
}

fn simulate(config: &KvCacheConfig, ops: &[(u8, u8, u16)]) {
    let mut simulation = Simulation::new(config);
    for (op, which, choice) in ops {
        simulation.run(*op, usize::from(*which), u32::from(*choice));
        simulation.verify();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_reference(
        ops in proptest::collection::vec((0u8..22, any::<u8>(), any::<u16>()), 0..200),
        max_sessions in 2usize..5,
        max_pages in 4u64..14,
        (keeps, shares) in (0u8..8, 0u8..6),
    ) {
        let config = KvCacheConfig {
            enabled: keeps != 1,
            persist_across_requests: keeps != 2,
            prefix_sharing: shares != 1,
            max_sessions,
            max_bytes_total: max_pages * PAGE_BYTES,
            ..KvCacheConfig::default()
        };
        simulate(&config, &ops);
    }
}
