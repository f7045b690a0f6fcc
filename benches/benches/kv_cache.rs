//! What the bookkeeping of the KV cache costs, for caches of very different sizes: but for misses of the CPU's caches, it
//! should not depend on the size.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sm_cache::{Arrival, KvCache, KvCacheConfig, KvShape, LeaseOwner, LeaseRequest, Namespace, PagePool};
use sm_tensor::TokenId;

const PAGE_LEN: usize = 16;
/// Pages of one request.
const REQUEST_PAGES: usize = 8;

/// A cache whose pages are all cached, and a source of prompts that never repeat.
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
        let pool = PagePool { n_pages, page_len: PAGE_LEN, shape };
        let cache = KvCache::new(KvCacheConfig::default(), pool).expect("the pool is usable");
        let prompt = vec![TokenId(0); REQUEST_PAGES * PAGE_LEN];
        let mut full = Self { cache, namespace: Namespace::default(), prompt, n_served: 0 };
        (0..n_pages / REQUEST_PAGES + 1).for_each(|_| full.serve_new());
        full
    }

    /// A request that finds nothing and evicts the oldest pages: lease, reserve, commit, release.
    fn serve_new(&mut self) {
        self.prompt[0] = TokenId(self.n_served);
        self.n_served += 1;
        self.serve();
    }

    /// The last request again: finds and touches its pages.
    fn serve(&mut self) {
        let owner = LeaseOwner::Request(&self.namespace);
        let (tokens, max_len) = (&self.prompt[..], self.prompt.len());
        let lease = self.cache.lease(&LeaseRequest { owner, tokens, max_len, arrival: Arrival::New });
        self.cache.reserve(&lease, max_len, &mut Vec::new()).expect("nobody else holds pages");
        self.cache.commit(&lease, tokens, max_len);
        self.cache.release(lease);
    }
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

criterion_group!(benches, kv_cache);
criterion_main!(benches);
