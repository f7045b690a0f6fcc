//! Documented behaviour: hits, sessions, reuse, eviction order, statistics.

use sm_cache::{
    CacheError, CacheFault, KvCache, KvCacheConfig, Namespace, SessionId, SessionMode, Turn, TurnEnd,
    TurnRequest,
};
use sm_tensor::{PageId, TokenId};

use crate::world::{PAGE_BYTES, PAGE_LEN, cache, compute, lease, lease_turn, namespace, pool, serve, tokens};

fn id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

fn begin(
    cache: &mut KvCache,
    name: &str,
    mode: SessionMode,
    tokens: &[TokenId],
) -> Result<(Turn, Vec<TokenId>), CacheError> {
    cache.begin_turn(&TurnRequest { session: &id(name), mode, namespace: &namespace(""), tokens })
}

/// A call that succeeds. As with a real sampler, the last sampled token is not computed. Returns the positions computed.
fn turn(cache: &mut KvCache, name: &str, mode: SessionMode, new: &[TokenId], sampled: &[u32]) -> usize {
    let (turn, mut token_ids) = begin(cache, name, mode, new).unwrap();
    let handle = lease_turn(cache, &turn, &token_ids);
    let mut n_computed = compute(cache, &handle, &token_ids);
    for (index, token) in sampled.iter().enumerate() {
        token_ids.push(TokenId(*token));
        if index + 1 < sampled.len() {
            n_computed += compute(cache, &handle, &token_ids);
        }
    }
    cache.end_turn(turn, Some(handle), TurnEnd::Commit(&token_ids));
    cache.check().unwrap();
    n_computed
}

#[test]
fn all_tokens_but_the_last_sampled_one_are_computed() {
    let mut cache = cache(16);
    assert_eq!(turn(&mut cache, "a", SessionMode::Append, &tokens(0..10), &[50, 51, 52, 53, 54]), 10 + 5 - 1);
    assert_eq!(cache.stats().computed_tokens, 14);
}

#[test]
fn the_second_turn_computes_only_what_is_new() {
    let mut cache = cache(16);
    turn(&mut cache, "a", SessionMode::Append, &tokens(0..10), &[50, 51, 52]);
    // The last sampled token of the first turn was not computed yet.
    assert_eq!(turn(&mut cache, "a", SessionMode::Append, &tokens(20..26), &[60]), 1 + 6);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.reused_tokens), (1, 1, 12));
    assert_eq!(stats.hit_rate(), 0.5);
    let token_ids = tokens((0..10).chain([50, 51, 52]).chain(20..26).chain([60]));
    assert_eq!(cache.session_token_ids(&id("a")), Ok(&token_ids[..]));
}

#[test]
fn a_resent_conversation_is_computed_from_the_first_difference() {
    let mut cache = cache(16);
    turn(&mut cache, "a", SessionMode::Prefix, &tokens(0..10), &[50, 51, 52]);
    let same: Vec<_> = tokens((0..10).chain([50, 51, 52]).chain(20..23));
    assert_eq!(
        turn(&mut cache, "a", SessionMode::Prefix, &same, &[60]),
        4,
        "generated text is reused as well"
    );
    let mut changed = same;
    changed[9] = TokenId(99);
    assert_eq!(turn(&mut cache, "a", SessionMode::Prefix, &changed, &[61]), 16 - 9);
    let again = changed.clone();
    assert_eq!(turn(&mut cache, "a", SessionMode::Prefix, &again, &[62]), 1, "one token is always computed");
}

#[test]
fn sessions_share_the_beginnings_of_their_prompts() {
    let mut cache = cache(300);
    let system = tokens((0..1000).map(|token| token % 7));
    let with = |token: u32| [&system[..], &tokens([token; 6])].concat();
    assert_eq!(turn(&mut cache, "a", SessionMode::Append, &with(100), &[]), 1006);
    assert_eq!(
        turn(&mut cache, "b", SessionMode::Append, &with(101), &[]),
        1006 - 1000 / PAGE_LEN * PAGE_LEN
    );
}

#[test]
fn requests_without_a_session_share_pages() {
    let mut cache = cache(16);
    let token_ids = tokens(0..16);
    assert_eq!(serve(&mut cache, &namespace(""), &token_ids), 16);
    assert_eq!(serve(&mut cache, &namespace(""), &token_ids), 4, "all but the page of the last token");
    assert_eq!(serve(&mut cache, &namespace("secret"), &token_ids), 16, "another salt shares nothing");
    assert_eq!(cache.shared_len(&namespace(""), &token_ids), 12);
    assert_eq!(cache.shared_len(&namespace("unknown"), &token_ids), 0);
}

#[test]
fn a_failed_call_leaves_the_session_as_it_was() {
    let mut cache = cache(16);
    turn(&mut cache, "a", SessionMode::Append, &tokens(0..10), &[50]);
    let token_ids = cache.session_token_ids(&id("a")).unwrap().to_vec();
    let (failed, context) = begin(&mut cache, "a", SessionMode::Append, &tokens(30..40)).unwrap();
    let handle = lease_turn(&mut cache, &failed, &context);
    compute(&mut cache, &handle, &context);
    cache.end_turn(failed, Some(handle), TurnEnd::Rollback);
    cache.check().unwrap();
    assert_eq!(cache.session_token_ids(&id("a")), Ok(&token_ids[..]));
    assert_eq!(
        turn(&mut cache, "a", SessionMode::Append, &tokens(60..62), &[]),
        2,
        "its pages are still there"
    );

    let (failed, _) = begin(&mut cache, "new", SessionMode::Append, &tokens(0..4)).unwrap();
    cache.end_turn(failed, None, TurnEnd::Rollback);
    assert!(matches!(cache.session_token_ids(&id("new")), Err(CacheError::UnknownSession { .. })));
}

#[test]
fn trimmed_text_is_not_in_the_session() {
    let mut cache = cache(16);
    let (turn_a, mut token_ids) = begin(&mut cache, "a", SessionMode::Append, &tokens(0..6)).unwrap();
    let handle = lease_turn(&mut cache, &turn_a, &token_ids);
    token_ids.extend(tokens([50, 51, 52]));
    compute(&mut cache, &handle, &token_ids);
    cache.end_turn(turn_a, Some(handle), TurnEnd::Commit(&token_ids[..7]));
    cache.check().unwrap();
    assert_eq!(cache.session_token_ids(&id("a")).unwrap().len(), 7);
    assert_eq!(turn(&mut cache, "a", SessionMode::Append, &tokens([70]), &[]), 1);
}

#[test]
fn a_busy_session_rejects_a_second_call() {
    let mut cache = cache(16);
    let (first, _) = begin(&mut cache, "a", SessionMode::Append, &tokens(0..4)).unwrap();
    let error = begin(&mut cache, "a", SessionMode::Append, &tokens(0..4)).unwrap_err();
    assert_eq!(error, CacheError::SessionBusy { session: id("a") });
    assert!(error.is_transient());
    assert!(matches!(cache.drop_session(&id("a")), Err(CacheError::SessionBusy { .. })));
    cache.end_turn(first, None, TurnEnd::Rollback);
    assert!(begin(&mut cache, "a", SessionMode::Append, &tokens(0..4)).is_ok());
}

#[test]
fn a_session_of_another_model_is_never_reused() {
    let mut cache = cache(16);
    turn(&mut cache, "a", SessionMode::Append, &tokens(0..4), &[]);
    let others = [
        ("model", Namespace { model: "other".into(), ..namespace("") }),
        ("kv_dtype", Namespace { kv_dtype: "f16".into(), ..namespace("") }),
        ("adapter", Namespace { adapter: "x".into(), ..namespace("") }),
        ("salt", namespace("y")),
    ];
    for (field, namespace) in others {
        let request = TurnRequest {
            session: &id("a"),
            mode: SessionMode::Append,
            namespace: &namespace,
            tokens: &tokens(0..4),
        };
        let error = cache.begin_turn(&request).unwrap_err();
        assert_eq!(error, CacheError::SessionMismatch { session: id("a"), field });
    }
}

#[test]
fn a_preempted_sequence_finds_its_pages_and_counts_once() {
    let mut cache = cache(16);
    let token_ids = tokens(0..10);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &handle, &token_ids);
    cache.release(handle);
    let owner = sm_cache::LeaseOwner::Request(&namespace(""));
    let arrival = sm_cache::Arrival::Resumed;
    let handle = cache.lease(&sm_cache::LeaseRequest { owner, tokens: &token_ids, max_len: 10, arrival });
    assert_eq!(cache.computed(&handle), 8);
    compute(&mut cache, &handle, &token_ids);
    cache.release(handle);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.reused_tokens, stats.computed_tokens), (0, 1, 0, 12));
}

#[test]
fn only_skipped_work_counts_as_reused() {
    let mut cache = cache(16);
    let token_ids = tokens(0..10);
    serve(&mut cache, &namespace(""), &token_ids);
    let cancelled = lease(&mut cache, &namespace(""), &token_ids);
    assert_eq!(cache.computed(&cancelled), 8);
    cache.release(cancelled);
    assert_eq!((cache.stats().hits, cache.stats().reused_tokens), (0, 0));
}

#[test]
fn forks_share_pages_until_they_write() {
    let mut cache = cache(16);
    let token_ids = tokens(0..10);
    let first = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &first, &token_ids);
    let second = cache.fork(&first);
    assert_eq!(cache.pages(&first), cache.pages(&second));
    assert_eq!(cache.stats().pinned_pages, 3);
    let mut copies = Vec::new();
    let shared = cache.pages(&first)[2];
    cache.reserve(&second, 11, &mut copies).unwrap();
    assert_eq!(copies, [(shared, cache.pages(&second)[2])]);
    cache.reserve(&first, 11, &mut copies).unwrap();
    assert_eq!(copies.len(), 1, "the last writer keeps the page");
    assert_eq!(cache.pages(&first)[2], shared);
    cache.release(first);
    cache.release(second);
    cache.check().unwrap();
}

#[test]
fn any_choice_can_continue_the_session() {
    let mut cache = cache(16);
    let (turn_a, mut token_ids) = begin(&mut cache, "a", SessionMode::Append, &tokens(0..10)).unwrap();
    let first = lease_turn(&mut cache, &turn_a, &token_ids);
    compute(&mut cache, &first, &token_ids);
    let second = cache.fork(&first);
    token_ids.push(TokenId(77));
    compute(&mut cache, &second, &token_ids);
    cache.end_turn(turn_a, Some(second), TurnEnd::Commit(&token_ids));
    cache.release(first);
    cache.check().unwrap();
    assert_eq!(turn(&mut cache, "a", SessionMode::Append, &tokens([5]), &[]), 1);
}

#[test]
fn the_end_of_a_conversation_is_evicted_before_its_beginning() {
    let mut cache = cache(4);
    let token_ids = tokens(0..16);
    serve(&mut cache, &namespace(""), &token_ids);
    assert_eq!(cache.evictable().map(|page| page.tokens[0].0).collect::<Vec<_>>(), [12, 8, 4, 0]);
    serve(&mut cache, &namespace(""), &tokens(100..106));
    assert_eq!(cache.shared_len(&namespace(""), &tokens(0..20)), 8);
    assert_eq!((cache.stats().evictions, cache.stats().evicted_pages), (2, 2));
}

#[test]
fn restored_pages_count_as_reused() {
    let mut cache = cache(8);
    let token_ids = tokens(0..10);
    let handle = lease(&mut cache, &namespace(""), &token_ids);
    let keys: Vec<_> = cache.page_keys(&namespace(""), &token_ids).collect();
    for key in &keys {
        assert_eq!(cache.next_key(&handle, &token_ids), Some(*key));
        let computed = cache.computed(&handle) + PAGE_LEN;
        cache.reserve(&handle, computed, &mut Vec::new()).unwrap();
        cache.commit_restored(&handle, &token_ids, computed);
    }
    assert_eq!((cache.next_key(&handle, &token_ids), keys.len()), (None, 2));
    compute(&mut cache, &handle, &token_ids);
    cache.release(handle);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.reused_tokens, stats.computed_tokens), (1, 8, 2));
}

#[test]
fn a_disabled_cache_keeps_only_the_conversation() {
    let config = KvCacheConfig::new().enabled(false);
    let mut cache = KvCache::new(config, pool(16)).unwrap();
    assert_eq!(turn(&mut cache, "a", SessionMode::Append, &tokens(0..10), &[50]), 10);
    assert_eq!(cache.stats().current_bytes, 0);
    assert_eq!(
        turn(&mut cache, "a", SessionMode::Append, &tokens(20..22), &[]),
        10 + 1 + 2,
        "the same context"
    );
    assert_eq!(serve(&mut cache, &namespace(""), &tokens(0..10)), 10);
    assert_eq!(serve(&mut cache, &namespace(""), &tokens(0..10)), 10);
    assert_eq!((cache.stats().hits, cache.stats().current_bytes), (0, 0));
}

#[test]
fn without_persistence_nothing_outlives_its_request() {
    let config = KvCacheConfig::new().persist_across_requests(false);
    let mut cache = KvCache::new(config, pool(16)).unwrap();
    turn(&mut cache, "a", SessionMode::Append, &tokens(0..10), &[50]);
    serve(&mut cache, &namespace(""), &tokens(0..10));
    let stats = cache.stats();
    assert_eq!((stats.current_sessions, stats.current_bytes, stats.peak_bytes), (0, 0, 3 * PAGE_BYTES));
    assert_eq!(stats.evictions, 0);
}

#[test]
fn clearing_does_not_count_as_eviction() {
    let mut cache = cache(16);
    turn(&mut cache, "a", SessionMode::Append, &tokens(0..10), &[50]);
    let running = lease(&mut cache, &namespace(""), &tokens(40..50));
    compute(&mut cache, &running, &tokens(40..50));
    cache.clear();
    cache.check().unwrap();
    let stats = cache.stats();
    assert_eq!((stats.current_sessions, stats.evictions, stats.current_bytes), (0, 0, 3 * PAGE_BYTES));
    cache.release(running);
}

#[test]
fn dropped_handles_are_found() {
    let mut cache = cache(16);
    let kept = lease(&mut cache, &namespace(""), &tokens(0..10));
    cache.check_leases([&kept]).unwrap();
    let dropped = lease(&mut cache, &namespace(""), &tokens(0..10));
    drop(dropped);
    assert!(matches!(cache.check_leases([&kept]), Err(CacheFault::Lease { lease: 1, .. })));
}

#[test]
fn evicted_pages_are_reused() {
    let mut cache = cache(2);
    for start in 0..50 {
        let token_ids = tokens(start * 10..start * 10 + 8);
        let handle = lease(&mut cache, &namespace(""), &token_ids);
        compute(&mut cache, &handle, &token_ids);
        assert!(cache.pages(&handle).iter().all(|page| *page < PageId(2)));
        cache.release(handle);
    }
    assert_eq!(cache.stats().peak_bytes, 2 * PAGE_BYTES);
}
