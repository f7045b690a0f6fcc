//! Documented behaviour of recurrent states: what is shared, where sequences go back to, what a step needs.

use sm_cache::{
    Arrival, CacheError, KvCache, KvCacheConfig, KvHandle, LeaseOwner, LeaseRequest, SessionId, SessionMode,
    TurnEnd, TurnRequest,
};
use sm_tensor::TokenId;

use crate::world::{
    PAGE_BYTES, PAGE_LEN, STATE_BYTES, compute, lease, lease_turn, namespace, pool, serve, stateful_pool,
    tokens,
};

fn cache(n_slots: usize) -> KvCache {
    let config = KvCacheConfig::new().max_bytes_total(1 << 20);
    KvCache::new(config, stateful_pool(32, n_slots)).unwrap()
}

/// Reserves a step of `n_certain` tokens and `n_drafts` drafts.
fn reserve(
    cache: &mut KvCache,
    handle: &KvHandle,
    n_certain: usize,
    n_drafts: usize,
) -> Result<(), CacheError> {
    let n_rows = n_certain + n_drafts;
    cache.reserve(handle, cache.computed(handle) + n_rows, &mut Vec::new()).unwrap();
    cache.reserve_states(handle, n_rows, n_certain)
}

/// Decodes up to the end of `token_ids`, a token at a time.
fn decode(cache: &mut KvCache, handle: &KvHandle, token_ids: &[TokenId]) {
    for computed in cache.computed(handle) + 1..=token_ids.len() {
        reserve(cache, handle, 1, 0).unwrap();
        cache.commit(handle, token_ids, computed);
    }
}

fn kept(cache: &KvCache, handle: &KvHandle) -> Vec<usize> {
    cache.state_plan(handle).unwrap().kept.iter().map(|kept| kept.position).collect()
}

#[test]
fn a_pool_without_states_plans_none() {
    let mut cache = KvCache::new(KvCacheConfig::default(), pool(8)).unwrap();
    let handle = lease(&mut cache, &namespace(""), &tokens(0..6));
    reserve(&mut cache, &handle, 6, 2).unwrap();
    assert_eq!((cache.state_plan(&handle), cache.is_stateful()), (None, false));
    cache.commit(&handle, &tokens(0..6), 6);
    assert_eq!(cache.truncate(&handle, 5), 5, "any position will do");
    assert_eq!(cache.state(&handle), None);
    cache.release(handle);
}

#[test]
fn a_prompt_leaves_one_snapshot_at_the_end_of_its_last_page() {
    let mut cache = cache(8);
    let prompt = tokens(0..18);
    assert_eq!(serve(&mut cache, &namespace(""), &prompt), 18);
    assert_eq!((cache.stats().snapshots, cache.shared_len(&namespace(""), &prompt)), (1, 16));
    assert_eq!(serve(&mut cache, &namespace(""), &prompt), 2);
    // A page further in front has no state to begin with.
    assert_eq!(cache.shared_len(&namespace(""), &tokens((0..15).chain([99, 99]))), 0);
}

#[test]
fn where_prompts_branch_the_second_leaves_a_snapshot_for_the_third() {
    let mut cache = cache(8);
    let with = |last: u32| tokens((0..10).chain([last; 8]));
    assert_eq!(serve(&mut cache, &namespace(""), &with(50)), 18);
    assert_eq!(serve(&mut cache, &namespace(""), &with(51)), 18);
    assert_eq!(serve(&mut cache, &namespace(""), &with(52)), 18 - 8);
}

#[test]
fn pages_that_lead_to_no_snapshot_are_not_kept() {
    let mut cache = cache(8);
    let prompt = tokens(0..18);
    let handle = lease(&mut cache, &namespace(""), &prompt);
    compute(&mut cache, &handle, &prompt[..10]);
    compute(&mut cache, &handle, &prompt);
    cache.release(handle);
    assert_eq!((cache.stats().cached_pages, cache.stats().snapshots), (4, 2));
    // The snapshots take their pages with them, the last first.
    while cache.trim(0) > 0 {}
    assert_eq!((cache.stats().evicted_pages, cache.stats().evicted_snapshots), (4, 2));
    cache.check().unwrap();
}

#[test]
fn decoding_overwrites_its_state_until_a_snapshot_needs_it() {
    let mut cache = cache(4);
    let token_ids = tokens(0..9);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &handle, &token_ids[..5]);
    let own = cache.state(&handle);
    decode(&mut cache, &handle, &token_ids[..8]);
    assert_eq!(cache.state(&handle), own, "in place");
    let page = cache.snapshots().find(|page| page.tokens[0] == TokenId(4)).map(|page| page.snapshot);
    assert_eq!(page, Some(own), "at the end of a page, the state is the snapshot");
    decode(&mut cache, &handle, &token_ids);
    assert_ne!(cache.state(&handle), own);
    cache.release(handle);
    cache.check().unwrap();
}

#[test]
fn a_long_answer_evicts_its_own_snapshots_before_anything_older() {
    let mut cache = cache(5);
    let request = TurnRequest {
        session: &SessionId::new("idle").unwrap(),
        mode: SessionMode::Append,
        namespace: &namespace(""),
        tokens: &tokens(300..303),
    };
    let (turn, token_ids) = cache.begin_turn(&request).unwrap();
    let handle = lease_turn(&mut cache, &turn, &token_ids);
    compute(&mut cache, &handle, &token_ids);
    cache.end_turn(turn, Some(handle), TurnEnd::Commit(&token_ids));
    for first in [100, 200] {
        serve(&mut cache, &namespace(""), &tokens(first..first + 5));
    }
    let answer = tokens(0..60);
    let handle = lease(&mut cache, &namespace(""), &answer[..1]);
    decode(&mut cache, &handle, &answer);
    for first in [100, 200] {
        assert_eq!(cache.shared_len(&namespace(""), &tokens(first..first + 5)), 4);
    }
    cache.release(handle);
    assert_eq!(cache.shared_len(&namespace(""), &answer), 56, "the last of its own is there");
    let (turn, token_ids) = cache.begin_turn(&request).unwrap();
    let handle = lease_turn(&mut cache, &turn, &token_ids);
    assert_eq!(cache.computed(&handle), 3, "the idle session has its state");
    cache.end_turn(turn, Some(handle), TurnEnd::Rollback);
    cache.check().unwrap();
}

#[test]
fn rejected_drafts_go_back_to_the_state_that_was_kept() {
    let mut cache = cache(8);
    let mut token_ids = tokens(0..5);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &handle, &token_ids);
    token_ids.push(TokenId(70));
    reserve(&mut cache, &handle, 1, 3).unwrap();
    assert_eq!(kept(&cache, &handle), [6, 7, 8]);
    let plan = cache.state_plan(&handle).unwrap();
    let after_one = plan.kept[1].slot;
    assert_eq!(cache.n_available_states(), 8 - 4);
    token_ids.push(TokenId(71));
    cache.commit(&handle, &token_ids, 7);
    assert_eq!(cache.truncate(&handle, 7), 7);
    assert_eq!(cache.state(&handle), Some(after_one));
    assert_eq!(cache.n_available_states(), 7);
    cache.release(handle);
    cache.check().unwrap();
}

#[test]
fn going_back_further_ends_at_a_snapshot() {
    let mut cache = cache(8);
    let token_ids = tokens(0..11);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &handle, &token_ids[..6]);
    compute(&mut cache, &handle, &token_ids);
    assert_eq!(cache.truncate(&handle, 11), 11);
    assert_eq!(cache.truncate(&handle, 10), 8);
    assert_eq!(cache.truncate(&handle, 7), 4);
    assert_eq!(cache.pages(&handle).len(), 1);
    assert_eq!(cache.truncate(&handle, 3), 0);
    assert_eq!(cache.state(&handle), None);
    for _ in 0..2 {
        // Decoding again forgets where it left its last snapshot.
        decode(&mut cache, &handle, &token_ids);
        assert_eq!(cache.truncate(&handle, 7), 4);
    }
    cache.release(handle);
    cache.check().unwrap();
}

#[test]
fn a_failed_step_costs_the_state_that_it_overwrote() {
    let mut cache = cache(8);
    let token_ids = tokens(0..8);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &handle, &token_ids[..6]);
    reserve(&mut cache, &handle, 1, 0).unwrap();
    reserve(&mut cache, &handle, 2, 0).unwrap();
    assert_eq!(cache.computed(&handle), 6, "a step that was never run may be planned again");
    assert_eq!(cache.truncate(&handle, 6), 4);
    cache.release(handle);
}

#[test]
#[should_panic(expected = "no state was reserved after 7 positions")]
fn a_position_whose_state_was_not_kept_cannot_be_committed() {
    let mut cache = cache(8);
    let handle = lease(&mut cache, &namespace(""), &tokens(0..9));
    reserve(&mut cache, &handle, 9, 0).unwrap();
    cache.commit(&handle, &tokens(0..9), 7);
}

#[test]
fn a_commit_of_nothing_new_changes_no_state() {
    let mut cache = cache(4);
    let token_ids = tokens(0..6);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &handle, &token_ids[..5]);
    let current = cache.state(&handle);
    cache.commit(&handle, &token_ids, 5);
    assert_eq!(cache.state(&handle), current);
    reserve(&mut cache, &handle, 1, 0).unwrap();
    cache.commit(&handle, &token_ids, 5);
    assert!(cache.state_plan(&handle).is_some(), "the step is still to come");
    cache.commit(&handle, &token_ids, 6);
    cache.release(handle);
    cache.check().unwrap();
}

#[test]
fn forks_read_one_state_and_write_their_own() {
    let mut cache = cache(4);
    let token_ids = tokens(0..6);
    let first = lease(&mut cache, &namespace(""), &token_ids[..5]);
    compute(&mut cache, &first, &token_ids[..5]);
    let second = cache.fork(&first);
    let shared = cache.state(&first);
    assert_eq!((cache.state(&second), cache.stats().pinned_states), (shared, 1));
    reserve(&mut cache, &first, 1, 0).unwrap();
    reserve(&mut cache, &second, 1, 0).unwrap();
    let plans = [&first, &second].map(|handle| cache.state_plan(handle).unwrap());
    assert!(plans.iter().all(|plan| plan.read == shared && Some(plan.write) != shared), "{plans:?}");
    assert_ne!(plans[0].write, plans[1].write);
    cache.commit(&first, &token_ids, 6);
    cache.commit(&second, &token_ids, 6);
    assert_eq!(cache.stats().pinned_states, 2);
    cache.release(first);
    cache.release(second);
    cache.check().unwrap();
}

#[test]
fn one_slot_is_enough_for_one_sequence() {
    let mut cache = cache(1);
    let token_ids = tokens(0..30);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &handle, &token_ids[..10]);
    decode(&mut cache, &handle, &token_ids);
    assert_eq!(cache.stats().snapshots, 0, "the last one was overwritten");
    cache.check().unwrap();
    cache.release(handle);
    assert_eq!((cache.stats().cached_pages, cache.stats().current_bytes), (0, 0));
}

#[test]
fn without_a_slot_reservations_fail_and_drafts_fail_first() {
    let mut cache = cache(3);
    let token_ids = tokens(0..6);
    let first = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &first, &token_ids[..5]);
    let second = lease(&mut cache, &namespace("other"), &token_ids);
    compute(&mut cache, &second, &token_ids[..5]);
    assert!(cache.admits(1));
    let before = cache.stats();
    let error = reserve(&mut cache, &first, 1, 3).unwrap_err();
    assert_eq!(error, CacheError::OutOfStates { needed: 3, missing: 2 });
    assert!(error.is_out_of_memory() && error.is_transient());
    assert_eq!(cache.stats().snapshots, before.snapshots, "nothing was evicted");
    reserve(&mut cache, &first, 1, 1).unwrap();
    assert!(!cache.admits(1), "there is no state for one more");
    let third = lease(&mut cache, &namespace("third"), &token_ids);
    let error = reserve(&mut cache, &third, 5, 0).unwrap_err();
    assert_eq!(error, CacheError::OutOfStates { needed: 1, missing: 1 });
    cache.release(second);
    reserve(&mut cache, &third, 5, 0).unwrap();
    cache.release(first);
    cache.release(third);
    cache.check().unwrap();
}

#[test]
fn a_preempted_sequence_resumes_at_its_last_snapshot() {
    let mut cache = cache(4);
    let token_ids = tokens(0..14);
    let handle = lease(&mut cache, &namespace(""), &token_ids[..6]);
    compute(&mut cache, &handle, &token_ids[..6]);
    decode(&mut cache, &handle, &token_ids[..13]);
    cache.release(handle);
    let owner = LeaseOwner::Request(&namespace(""));
    let arrival = Arrival::Resumed;
    let handle = cache.lease(&LeaseRequest { owner, tokens: &token_ids, max_len: 20, arrival });
    assert_eq!(cache.computed(&handle), 12);
    cache.release(handle);
}

#[test]
fn a_session_keeps_the_state_at_its_end() {
    let mut cache = cache(4);
    let session = &SessionId::new("a").unwrap();
    let mut turn = |new: &[TokenId], n_trimmed: usize| {
        let mode = SessionMode::Append;
        let request = TurnRequest { session, mode, namespace: &namespace(""), tokens: new };
        let (turn, token_ids) = cache.begin_turn(&request).unwrap();
        let handle = lease_turn(&mut cache, &turn, &token_ids);
        let n_computed = compute(&mut cache, &handle, &token_ids);
        let n_kept = token_ids.len() - n_trimmed;
        cache.end_turn(turn, Some(handle), TurnEnd::Commit(&token_ids[..n_kept]));
        cache.check().unwrap();
        n_computed
    };
    assert_eq!(turn(&tokens(0..6), 0), 6);
    assert_eq!(turn(&tokens(10..13), 2), 3, "it goes on where it ended");
    assert_eq!(turn(&tokens(20..22), 0), 3 + 2, "what was trimmed ended behind the snapshot at 4");
}

#[test]
fn idle_sessions_lose_their_states_to_others() {
    let mut cache = cache(2);
    let session = &SessionId::new("a").unwrap();
    let prompt = tokens(0..6);
    let request =
        TurnRequest { session, mode: SessionMode::Append, namespace: &namespace(""), tokens: &prompt };
    let (turn, token_ids) = cache.begin_turn(&request).unwrap();
    let handle = lease_turn(&mut cache, &turn, &token_ids);
    compute(&mut cache, &handle, &token_ids);
    cache.end_turn(turn, Some(handle), TurnEnd::Commit(&token_ids));
    assert_eq!(cache.n_available_states(), 2);
    for first in [100, 200] {
        serve(&mut cache, &namespace(""), &tokens(first..first + 5));
    }
    assert_eq!(cache.session_token_ids(session), Ok(&prompt[..]), "its tokens stay");
    let (turn, token_ids) = cache.begin_turn(&request).unwrap();
    let handle = lease_turn(&mut cache, &turn, &token_ids);
    assert_eq!(cache.computed(&handle), 0);
    cache.end_turn(turn, Some(handle), TurnEnd::Rollback);
    cache.check().unwrap();
}

#[test]
fn restored_pages_bring_their_state() {
    let mut cache = cache(4);
    let token_ids = tokens(0..14);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    for end in [4, 8, 12] {
        assert!(cache.next_key(&handle, &token_ids).is_some());
        cache.reserve(&handle, end, &mut Vec::new()).unwrap();
        let slot = (end == 8).then(|| cache.reserve_restored_state(&handle, end).unwrap());
        cache.commit_restored(&handle, &token_ids, end);
        assert_eq!(cache.state(&handle), slot);
    }
    cache.release(handle);
    cache.check().unwrap();
    assert_eq!(cache.shared_len(&namespace(""), &token_ids), 8);
    assert_eq!(cache.stats().cached_pages, 2, "the third page led to no state");
    assert_eq!(serve(&mut cache, &namespace(""), &token_ids), 6);
}

#[test]
#[should_panic(expected = "the state after 4 positions is unknown")]
fn a_sequence_cannot_continue_from_pages_without_a_state() {
    let mut cache = cache(4);
    let handle = lease(&mut cache, &namespace(""), &tokens(0..6));
    cache.reserve(&handle, PAGE_LEN, &mut Vec::new()).unwrap();
    cache.commit_restored(&handle, &tokens(0..6), PAGE_LEN);
    _ = cache.reserve_states(&handle, 1, 1);
}

#[test]
fn states_count_in_bytes() {
    let mut cache = cache(4);
    let handle = lease(&mut cache, &namespace(""), &tokens(0..6));
    compute(&mut cache, &handle, &tokens(0..6));
    let stats = cache.stats();
    assert_eq!((stats.state_slots, stats.pinned_states, stats.snapshots), (4, 1, 1));
    assert_eq!(stats.current_bytes, 2 * PAGE_BYTES + 2 * STATE_BYTES);
    assert_eq!(stats.max_bytes, 32 * PAGE_BYTES + 4 * STATE_BYTES);
    cache.release(handle);
    assert_eq!(cache.stats().current_bytes, PAGE_BYTES + STATE_BYTES);
    assert!(cache.set_max_bytes_total(PAGE_BYTES + 4 * STATE_BYTES - 1).is_err());
    cache.set_max_bytes_total(PAGE_BYTES + 4 * STATE_BYTES).unwrap();
    assert_eq!(cache.max_pages(), 1);
}
