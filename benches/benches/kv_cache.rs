//! Cost of KV cache bookkeeping at very different cache sizes. Except for CPU cache misses, it should not depend on the
//! size.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sm_cache::{
    Arrival, KvCache, KvCacheConfig, KvShape, LeaseOwner, LeaseRequest, Namespace, PagePool, SessionId,
    SessionMode, TurnEnd, TurnRequest,
};
use sm_tensor::TokenId;

const PAGE_LEN: usize = 16;
/// Pages of one request.
const REQUEST_PAGES: usize = 8;

/// A full cache, and a source of unique prompts.
#[derive(Debug)]
struct FullCache {
    cache: KvCache,
    namespace: Namespace,
    prompt: Vec<TokenId>,
    n_served: u32,
}

impl FullCache {
    fn new(n_pages: usize) -> Self {
        let shape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 2 };
        let pool = PagePool::new(n_pages, PAGE_LEN, shape);
        let cache = KvCache::new(KvCacheConfig::default(), pool).expect("the pool is usable");
        let prompt = vec![TokenId(0); REQUEST_PAGES * PAGE_LEN];
        let mut full = Self { cache, namespace: Namespace::default(), prompt, n_served: 0 };
        (0..n_pages / REQUEST_PAGES + 1).for_each(|_| full.serve_new());
        full
    }

    /// A request that misses and evicts the oldest pages: lease, reserve, commit, release.
    fn serve_new(&mut self) {
        self.prompt[0] = TokenId(self.n_served);
        self.n_served += 1;
        self.serve();
    }

    /// Repeats the last request, which hits and touches its pages.
    fn serve(&mut self) {
        let owner = LeaseOwner::Request(&self.namespace);
        let tokens = &self.prompt[..];
        let max_len = self.prompt.len();
        let lease = self.cache.lease(&LeaseRequest { owner, tokens, max_len, arrival: Arrival::New });
        self.cache.reserve(&lease, max_len, &mut Vec::new()).expect("nobody else holds pages");
        self.cache.commit(&lease, tokens, max_len);
        self.cache.release(lease);
    }
}

/// A cache with the maximum number of sessions.
#[derive(Debug)]
struct FullSessions {
    cache: KvCache,
    namespace: Namespace,
    /// The stored sessions, plus one more.
    names: Vec<SessionId>,
    next: usize,
}

impl FullSessions {
    fn new(n_sessions: usize) -> Self {
        let shape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 2 };
        let pool = PagePool::new(n_sessions, PAGE_LEN, shape);
        let config = KvCacheConfig::new().max_sessions(n_sessions);
        let cache = KvCache::new(config, pool).expect("the pool is usable");
        let name = |number| SessionId::new(&format!("session {number}")).expect("the name is not blank");
        let names = (0..=n_sessions).map(name).collect();
        let mut full = Self { cache, namespace: Namespace::default(), names, next: 0 };
        (0..n_sessions).for_each(|_| full.turn_of_next());
        full
    }

    /// A turn of the least recently used session, which is not stored, so the oldest stored one is evicted.
    fn turn_of_next(&mut self) {
        self.turn(self.next);
        self.next = (self.next + 1) % self.names.len();
    }

    /// A turn of a stored session, which is found and touched. The stride keeps it out of the CPU caches.
    fn turn_of_known(&mut self) {
        let n_known = self.names.len() - 1;
        self.turn(self.next);
        self.next = (self.next + 7919) % n_known;
    }

    fn turn(&mut self, session: usize) {
        let session = &self.names[session];
        let mode = SessionMode::Prefix;
        let namespace = &self.namespace;
        let request = TurnRequest { session, mode, namespace, tokens: &[TokenId(0)] };
        let (turn, log) = self.cache.begin_turn(&request).expect("nobody else uses the session");
        self.cache.end_turn(turn, None, TurnEnd::Commit(&log));
    }
}

fn sessions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sessions");
    for n_sessions in [100, 1_000, 10_000, 100_000] {
        let mut full = FullSessions::new(n_sessions);
        group.bench_function(BenchmarkId::new("evict", n_sessions), |bencher| {
            bencher.iter(|| black_box(&mut full).turn_of_next());
        });
        let mut full = FullSessions::new(n_sessions);
        full.next = 0;
        group.bench_function(BenchmarkId::new("get_and_touch", n_sessions), |bencher| {
            bencher.iter(|| black_box(&mut full).turn_of_known());
        });
    }
    group.finish();
}

fn kv_cache(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kv_cache");
    for n_pages in [1_000, 10_000, 100_000, 1_000_000] {
        let mut full = FullCache::new(n_pages);
        group.bench_function(BenchmarkId::new("evict_8_pages", n_pages), |bencher| {
            bencher.iter(|| black_box(&mut full).serve_new());
        });
        group.bench_function(BenchmarkId::new("touch_7_pages", n_pages), |bencher| {
            bencher.iter(|| black_box(&mut full).serve());
        });
    }
    group.finish();
}

criterion_group!(benches, kv_cache, sessions);
criterion_main!(benches);
