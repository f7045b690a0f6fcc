//! A small cache and a fake executor, whose memory knows for which tokens each position and state was computed.

use sm_cache::{
    Arrival, KvCache, KvCacheConfig, KvHandle, KvShape, LeaseOwner, LeaseRequest, Namespace, PagePool,
    StatePlan, Turn,
};
use sm_tensor::{PageId, StateSlot, TokenId};

/// Positions in a page.
pub(crate) const PAGE_LEN: usize = 4;
/// Bytes of a page.
pub(crate) const PAGE_BYTES: u64 = 2 * 4 * PAGE_LEN as u64;
/// Bytes of a state slot.
pub(crate) const STATE_BYTES: u64 = 5;

/// A namespace with this salt.
pub(crate) fn namespace(salt: &str) -> Namespace {
    Namespace { model: "demo".into(), kv_dtype: "f32".into(), salt: salt.into(), ..Namespace::default() }
}

pub(crate) fn tokens(ids: impl IntoIterator<Item = u32>) -> Vec<TokenId> {
    ids.into_iter().map(TokenId).collect()
}

pub(crate) fn pool(n_pages: usize) -> PagePool {
    let shape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 4 };
    PagePool::new(n_pages, PAGE_LEN, shape)
}

pub(crate) fn stateful_pool(n_pages: usize, n_slots: usize) -> PagePool {
    pool(n_pages).with_states(n_slots, STATE_BYTES as usize)
}

pub(crate) fn cache(n_pages: usize) -> KvCache {
    KvCache::new(KvCacheConfig::default(), pool(n_pages)).unwrap()
}

/// What keys and values depend on: the namespace and all tokens up to their position.
pub(crate) type Content = (String, Vec<TokenId>);

/// A recurrent state: a running hash of all tokens, so that one wrong state makes all that follow wrong.
pub(crate) type State = u64;

/// The state before the first token.
fn zero_state(salt: &str) -> State {
    salt.bytes().fold(1, |state, byte| mix(state, TokenId(byte.into())))
}

fn mix(state: State, token: TokenId) -> State {
    (state ^ u64::from(token.0 + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// The state after `tokens`.
pub(crate) fn state_after(salt: &str, tokens: &[TokenId]) -> State {
    tokens.iter().fold(zero_state(salt), |state, token| mix(state, *token))
}

/// The memory of an executor.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    positions: Vec<Option<Content>>,
    states: Vec<Option<State>>,
}

impl Memory {
    pub(crate) fn new(n_pages: usize, n_slots: usize) -> Self {
        Self { positions: vec![None; n_pages * PAGE_LEN], states: vec![None; n_slots] }
    }

    /// Computes the states after each of `tokens`, from the state that is read, and puts them where the plan says.
    pub(crate) fn run(&mut self, plan: &StatePlan<'_>, salt: &str, start: usize, tokens: &[TokenId]) {
        assert_eq!(plan.read.is_none(), start == 0);
        let mut state = plan.read.map_or(zero_state(salt), |slot| self.state(slot).unwrap());
        for (token, position) in tokens.iter().zip(start + 1..) {
            state = mix(state, *token);
            for kept in plan.kept.iter().filter(|kept| kept.position == position) {
                self.set_state(kept.slot, Some(state));
            }
        }
        self.set_state(plan.write, Some(state));
    }

    pub(crate) fn state(&self, slot: StateSlot) -> Option<State> {
        self.states[slot.0 as usize]
    }

    pub(crate) fn set_state(&mut self, slot: StateSlot, state: Option<State>) {
        self.states[slot.0 as usize] = state;
    }

    /// What a page holds.
    pub(crate) fn page(&self, page: PageId) -> &[Option<Content>] {
        &self.positions[page.0 as usize * PAGE_LEN..][..PAGE_LEN]
    }

    pub(crate) fn set_page(&mut self, page: PageId, content: &[Option<Content>]) {
        self.positions[page.0 as usize * PAGE_LEN..][..PAGE_LEN].clone_from_slice(content);
    }

    pub(crate) fn copy(&mut self, copies: &[(PageId, PageId)]) {
        for (from, to) in copies {
            for offset in 0..PAGE_LEN {
                self.positions[to.0 as usize * PAGE_LEN + offset] =
                    self.positions[from.0 as usize * PAGE_LEN + offset].clone();
            }
        }
    }

    /// Computes positions of a sequence.
    pub(crate) fn write(
        &mut self,
        pages: &[PageId],
        range: std::ops::Range<usize>,
        salt: &str,
        token_ids: &[TokenId],
    ) {
        for position in range {
            self.positions[pages[position / PAGE_LEN].0 as usize * PAGE_LEN + position % PAGE_LEN] =
                Some((salt.into(), token_ids[..=position].to_vec()));
        }
    }

    /// Checks that the computed positions of a sequence hold what it would compute.
    pub(crate) fn verify(&self, pages: &[PageId], computed: usize, salt: &str, token_ids: &[TokenId]) {
        for position in 0..computed {
            self.verify_position(pages[position / PAGE_LEN], position, salt, token_ids);
        }
    }

    /// Checks that a page holds the last positions of `token_ids`.
    pub(crate) fn verify_page(&self, page: PageId, salt: &str, token_ids: &[TokenId]) {
        for position in token_ids.len() - PAGE_LEN..token_ids.len() {
            self.verify_position(page, position, salt, token_ids);
        }
    }

    fn verify_position(&self, page: PageId, position: usize, salt: &str, token_ids: &[TokenId]) {
        let content = self.positions[page.0 as usize * PAGE_LEN + position % PAGE_LEN].as_ref();
        let right = content.is_some_and(|(s, prefix)| s == salt && prefix == &token_ids[..=position]);
        assert!(
            right,
            "position {position} in {page:?} holds {content:?} and not {:?}",
            &token_ids[..=position]
        );
    }
}

/// A lease for a request without a session.
pub(crate) fn lease(cache: &mut KvCache, namespace: &Namespace, tokens: &[TokenId]) -> KvHandle {
    let owner = LeaseOwner::Request(namespace);
    cache.lease(&LeaseRequest { owner, tokens, max_len: tokens.len(), arrival: Arrival::New })
}

/// A lease for a call on a session.
pub(crate) fn lease_turn(cache: &mut KvCache, turn: &Turn, tokens: &[TokenId]) -> KvHandle {
    let owner = LeaseOwner::Turn(turn);
    cache.lease(&LeaseRequest { owner, tokens, max_len: tokens.len(), arrival: Arrival::New })
}

/// Computes all of `token_ids` in one step; returns the positions computed.
pub(crate) fn compute(cache: &mut KvCache, handle: &KvHandle, token_ids: &[TokenId]) -> usize {
    let before = cache.computed(handle);
    let n_rows = token_ids.len() - before;
    cache.reserve(handle, token_ids.len(), &mut Vec::new()).unwrap();
    cache.reserve_states(handle, n_rows, n_rows).unwrap();
    cache.commit(handle, token_ids, token_ids.len());
    token_ids.len() - before
}

/// Serves a request from begin to end; returns the positions computed.
pub(crate) fn serve(cache: &mut KvCache, namespace: &Namespace, token_ids: &[TokenId]) -> usize {
    let handle = lease(cache, namespace, token_ids);
    let n_computed = compute(cache, &handle, token_ids);
    cache.release(handle);
    cache.check().unwrap();
    n_computed
}
