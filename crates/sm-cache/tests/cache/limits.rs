//! Limits: their order, what is evicted, and what observers hear.

use std::sync::{Arc, Mutex};

use sm_cache::{
    CacheError, CacheEvent, CacheObserver, EvictionReason, KvCache, KvCacheConfig, Resource, SessionId,
    SessionMode, Turn, TurnEnd, TurnRequest, Victim,
};
use sm_tensor::TokenId;

use crate::world::{PAGE_BYTES, cache, compute, lease, lease_turn, namespace, pool, serve, tokens};

/// Writes events down as text.
#[derive(Debug, Default, Clone)]
struct Recorder(Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl CacheObserver for Recorder {
    fn on_event(&mut self, event: &CacheEvent<'_>) {
        let line = match event {
            CacheEvent::BudgetExceeded { session, resource, current, max } => {
                format!("{session} exceeds {resource}: {current} of {max}")
            }
            CacheEvent::Evicted { victim, reason, freed_bytes } => {
                let victim = match victim {
                    Victim::Session(session) => format!("session {session}"),
                    Victim::SessionPages(session) => format!("pages of {session}"),
                    Victim::Page(page) => format!("page of {}", page.tokens[0].0),
                    Victim::Snapshot(page) => format!("snapshot after {}", page.tokens[0].0),
                    _ => unreachable!("{victim:?}"),
                };
                let reason = match reason {
                    EvictionReason::SessionCount => "count",
                    EvictionReason::Memory => "memory",
                    EvictionReason::Trim => "trim",
                    EvictionReason::Threshold => "threshold",
                    _ => unreachable!("{reason:?}"),
                };
                format!("{victim} for {reason}: {} pages", freed_bytes / PAGE_BYTES)
            }
            CacheEvent::Stored(_) | CacheEvent::Removed { .. } => return,
            _ => unreachable!("{event:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

fn watched(config: KvCacheConfig, n_pages: usize) -> (KvCache, Recorder) {
    let mut cache = KvCache::new(config, pool(n_pages)).unwrap();
    let recorder = Recorder::default();
    cache.watch(Box::new(recorder.clone()));
    (cache, recorder)
}

fn begin(cache: &mut KvCache, name: &str, tokens: &[TokenId]) -> Result<(Turn, Vec<TokenId>), CacheError> {
    let session = &SessionId::new(name).unwrap();
    let mode = SessionMode::Append;
    cache.begin_turn(&TurnRequest { session, mode, namespace: &namespace(""), tokens })
}

fn turn(cache: &mut KvCache, name: &str, new: &[TokenId]) {
    let (turn, token_ids) = begin(cache, name, new).unwrap();
    let handle = lease_turn(cache, &turn, &token_ids);
    compute(cache, &handle, &token_ids);
    cache.end_turn(turn, Some(handle), TurnEnd::Commit(&token_ids));
    cache.check().unwrap();
}

#[test]
fn a_session_over_its_tokens_fails_and_observers_hear_of_it() {
    let config = KvCacheConfig::new().max_tokens_per_session(10);
    let (mut cache, recorder) = watched(config, 16);
    let limit = |actual| CacheError::ResourceLimit { resource: Resource::SessionTokens, limit: 10, actual };
    assert_eq!(begin(&mut cache, "a", &tokens(0..11)).unwrap_err(), limit(11));
    assert_eq!(recorder.take(), ["a exceeds max_tokens_per_session: 11 of 10"]);
    let (turn, token_ids) = begin(&mut cache, "a", &tokens(0..10)).unwrap();
    let handle = lease_turn(&mut cache, &turn, &token_ids);
    compute(&mut cache, &handle, &token_ids);
    assert_eq!(cache.reserve(&handle, 11, &mut Vec::new()), Err(limit(11)), "also while it runs");
    cache.end_turn(turn, Some(handle), TurnEnd::Commit(&token_ids));
    assert_eq!(recorder.take().len(), 1);
    let alone = lease(&mut cache, &namespace(""), &tokens(0..20));
    compute(&mut cache, &alone, &tokens(0..20));
    cache.release(alone);
}

#[test]
fn a_session_over_its_bytes_fails() {
    let config = KvCacheConfig::new().max_bytes_per_session(2 * PAGE_BYTES);
    let (mut cache, recorder) = watched(config, 16);
    turn(&mut cache, "a", &tokens(0..8));
    let error = begin(&mut cache, "a", &tokens([9])).unwrap_err();
    let (limit, actual) = (2 * PAGE_BYTES, 3 * PAGE_BYTES);
    assert_eq!(error, CacheError::ResourceLimit { resource: Resource::SessionBytes, limit, actual });
    assert_eq!(recorder.take().len(), 1);
}

#[test]
fn one_session_too_many_evicts_the_least_recently_used() {
    let config = KvCacheConfig::new().max_sessions(1000);
    let (mut cache, recorder) = watched(config, 4000);
    for index in 0..1000 {
        turn(&mut cache, &format!("s{index}"), &tokens(index * 5..index * 5 + 5));
    }
    turn(&mut cache, "s0", &tokens([1]));
    assert_eq!(cache.stats().evictions, 0);
    turn(&mut cache, "new", &tokens(0..3));
    assert_eq!(recorder.take(), ["session s1 for count: 2 pages"]);
    assert_eq!((cache.stats().current_sessions, cache.stats().evictions), (1000, 1));
    assert!(cache.session_token_ids(&SessionId::new("s1").unwrap()).is_err());
}

#[test]
fn sessions_in_use_are_never_evicted() {
    let config = KvCacheConfig::new().max_sessions(1);
    let (mut cache, _) = watched(config, 16);
    let (busy, _) = begin(&mut cache, "a", &tokens(0..4)).unwrap();
    let error = begin(&mut cache, "b", &tokens(0..4)).unwrap_err();
    assert_eq!(error, CacheError::ResourceLimit { resource: Resource::Sessions, limit: 1, actual: 2 });
    assert!(error.is_transient());
    cache.end_turn(busy, None, TurnEnd::Commit(&tokens(0..4)));
    assert!(begin(&mut cache, "b", &tokens(0..4)).is_ok());
}

#[test]
fn idle_sessions_and_cached_pages_are_evicted_in_the_order_of_their_use() {
    let (mut cache, recorder) = watched(KvCacheConfig::default(), 6);
    serve(&mut cache, &namespace(""), &tokens(100..104));
    turn(&mut cache, "a", &tokens(0..6));
    turn(&mut cache, "b", &tokens(10..16));
    serve(&mut cache, &namespace(""), &tokens(200..204));
    let handle = lease(&mut cache, &namespace(""), &tokens(300..308));
    compute(&mut cache, &handle, &tokens(300..308));
    assert_eq!(recorder.take(), ["page of 100 for memory: 1 pages", "pages of a for memory: 2 pages"]);
    cache.release(handle);
    // The session keeps its tokens, so the conversation goes on; its first page is still cached.
    let (turn, token_ids) = begin(&mut cache, "a", &tokens([6])).unwrap();
    assert_eq!(token_ids, tokens(0..7));
    let handle = lease_turn(&mut cache, &turn, &token_ids);
    assert_eq!(cache.computed(&handle), 4);
    cache.end_turn(turn, Some(handle), TurnEnd::Rollback);
    cache.check().unwrap();
}

#[test]
fn bytes_never_exceed_the_limit() {
    let config = KvCacheConfig::new().max_bytes_total(5 * PAGE_BYTES + 1);
    let (mut cache, _) = watched(config, 100);
    for index in 0..20 {
        turn(&mut cache, &format!("s{}", index % 4), &tokens(index..index + 3));
        assert!(cache.stats().current_bytes <= 5 * PAGE_BYTES);
    }
    assert_eq!(cache.stats().peak_bytes, 5 * PAGE_BYTES);
    let error = begin(&mut cache, "long", &tokens(0..21)).unwrap_err();
    let (limit, actual) = (5 * PAGE_BYTES + 1, 6 * PAGE_BYTES);
    assert_eq!(error, CacheError::ResourceLimit { resource: Resource::TotalBytes, limit, actual });
}

#[test]
fn a_failed_reservation_changes_nothing() {
    let (mut cache, recorder) = watched(KvCacheConfig::default(), 4);
    turn(&mut cache, "idle", &tokens(0..4));
    let first = lease(&mut cache, &namespace(""), &tokens(10..18));
    compute(&mut cache, &first, &tokens(10..18));
    let second = lease(&mut cache, &namespace(""), &tokens(20..32));
    let before = cache.stats();
    let error = cache.reserve(&second, 12, &mut Vec::new()).unwrap_err();
    assert_eq!(error, CacheError::OutOfPages { needed: 3, missing: 1 });
    assert_eq!((cache.stats(), recorder.take().len(), cache.pages(&second).len()), (before, 0, 0));
    cache.release(first);
    cache.reserve(&second, 12, &mut Vec::new()).unwrap();
    let error = cache.reserve(&second, 17, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, CacheError::ResourceLimit { resource: Resource::TotalBytes, .. }), "{error}");
    cache.release(second);
}

#[test]
fn admission_respects_the_watermark() {
    let config = KvCacheConfig::new().high_watermark_percent(75);
    let (mut cache, _) = watched(config, 8);
    assert!(cache.admits(8), "a sequence that runs alone may take everything");
    let handle = lease(&mut cache, &namespace(""), &tokens(0..16));
    compute(&mut cache, &handle, &tokens(0..16));
    assert!(cache.admits(2) && !cache.admits(3));
    cache.reserve(&handle, 32, &mut Vec::new()).unwrap();
    assert!(!cache.admits(1));
    cache.release(handle);
}

#[test]
fn trimming_and_lower_limits_evict_what_is_unused() {
    let (mut cache, recorder) = watched(KvCacheConfig::default(), 8);
    turn(&mut cache, "a", &tokens(0..6));
    let running = lease(&mut cache, &namespace(""), &tokens(10..18));
    compute(&mut cache, &running, &tokens(10..18));
    assert_eq!(cache.trim(3 * PAGE_BYTES), 3 * PAGE_BYTES);
    assert_eq!(recorder.take(), ["pages of a for trim: 2 pages"], "the full page stays cached");
    assert_eq!(cache.trim(0), 2 * PAGE_BYTES, "leases keep their pages");
    cache.set_max_bytes_total(PAGE_BYTES).unwrap();
    cache.check().unwrap();
    assert_eq!(cache.stats().current_bytes, 2 * PAGE_BYTES);
    cache.release(running);
    cache.check().unwrap();
    assert_eq!(cache.stats().current_bytes, PAGE_BYTES);
    assert!(cache.set_max_bytes_total(PAGE_BYTES - 1).is_err());
}

#[test]
fn above_the_threshold_unused_pages_are_evicted_early() {
    let config = KvCacheConfig::new().gc_threshold_percent(50);
    let (mut cache, recorder) = watched(config, 8);
    for first in [0, 10, 20] {
        let handle = lease(&mut cache, &namespace(""), &tokens(first..first + 8));
        compute(&mut cache, &handle, &tokens(first..first + 8));
        cache.release(handle);
    }
    assert_eq!((cache.stats().cached_pages, cache.blank_pages().count()), (6, 2));
    cache.collect();
    assert_eq!(recorder.take(), ["page of 4 for threshold: 1 pages", "page of 0 for threshold: 1 pages"]);
    assert_eq!((cache.stats().cached_pages, cache.blank_pages().count()), (4, 4));
    cache.collect();
    assert!(recorder.take().is_empty(), "half of the pages may be cached");
    cache.check().unwrap();
}

#[test]
fn equal_pages_are_kept_once() {
    let mut cache = cache(8);
    let token_ids = tokens(0..8);
    let first = lease(&mut cache, &namespace(""), &token_ids);
    let second = lease(&mut cache, &namespace(""), &token_ids);
    compute(&mut cache, &first, &token_ids);
    compute(&mut cache, &second, &token_ids);
    assert_eq!(cache.stats().pinned_pages, 4);
    cache.release(first);
    cache.release(second);
    assert_eq!((cache.stats().cached_pages, cache.shared_len(&namespace(""), &tokens(0..9))), (2, 8));
    cache.check().unwrap();
}
