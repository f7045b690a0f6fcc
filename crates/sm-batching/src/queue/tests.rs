//! The order of the queue against a slow reference, and its limits.

use std::sync::Arc;

use proptest::prelude::{any, prop, proptest};
use sm_cache::{KvCache, KvCacheConfig, KvShape, Namespace, PagePool};
use sm_tensor::TokenId;

use super::*;
use crate::request::{Request, RequestId};

fn cache() -> KvCache {
    let shape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 4 };
    KvCache::new(KvCacheConfig::default(), PagePool::new(4, 4, shape)).unwrap()
}

fn sequence(id: u64, priority: Priority, client: usize, arrival_us: u64) -> Sequence {
    let prompt = vec![TokenId(1); 1 + id as usize % 7];
    let request = Request::new(RequestId(id), prompt, Arc::new(Namespace::default()), 10);
    let sequence = Sequence::new(request, client, Vec::new());
    Sequence { priority, arrival_us, arrival_step: arrival_us, ..sequence }
}

const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Critical];

/// The order that the rules say, found one request at a time.
fn reference(mut waiting: Vec<(u64, Priority, usize, u64)>, mut served: Vec<u64>, now_us: u64) -> Vec<u64> {
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let level = |(_, priority, _, arrival): &(u64, Priority, usize, u64)| match priority {
            Priority::Critical => 3,
            other => (*other as u64 + (now_us - arrival) / 1000).min(2),
        };
        let highest = waiting.iter().map(level).max().unwrap();
        let of_level: Vec<_> = waiting.iter().filter(|w| level(w) == highest).copied().collect();
        let least = of_level.iter().map(|w| served[w.2]).min().unwrap();
        let of_client = of_level.iter().filter(|w| served[w.2] == least);
        let next = *of_client.min_by_key(|w| (w.3, w.0)).unwrap();
        served[next.2] += 1 + next.0 % 7;
        order.push(next.0);
        waiting.retain(|w| w.0 != next.0);
    }
    order
}

proptest! {
    #[test]
    fn the_order_is_that_of_the_reference(
        requests in prop::collection::vec((0..4_usize, 0..3_usize, 0..4000_u64), 0..40),
        served in any::<[u8; 3]>(),
    ) {
        let (mut queue, mut fairness) = (Queue::default(), Fairness::default());
        let slots: Vec<usize> = (0..3).map(|name| fairness.enter(name)).collect();
        slots.iter().zip(served).for_each(|(slot, served)| fairness.charge(*slot, served.into()));
        let requests: Vec<_> =
            (0..).zip(requests).map(|(id, (p, client, arrival))| (id, PRIORITIES[p], client, arrival)).collect();
        for (id, priority, client, arrival) in &requests {
            queue.push(sequence(*id, *priority, *client, *arrival));
        }
        let config = BatchingConfig { priority_boost_after_us: 1000, ..BatchingConfig::default() };
        let by = RankBy { config: &config, fairness: &fairness, cache: &cache(), now_us: 4000 };
        let mut order = Vec::new();
        queue.order(by, usize::MAX, &mut order);
        let ids: Vec<u64> = order.iter().map(|index| queue.get(*index).id.request.0).collect();
        assert_eq!(ids, reference(requests, served.map(u64::from).to_vec(), 4000));
    }
}

#[test]
fn of_simultaneous_requests_the_longest_cached_prefix_goes_first() {
    let mut cache = cache();
    let token_ids: Vec<TokenId> = (0..9).map(TokenId).collect();
    let owner = sm_cache::LeaseOwner::Request(&Namespace::default());
    let arrival = sm_cache::Arrival::New;
    let lease = cache.lease(&sm_cache::LeaseRequest { owner, tokens: &token_ids, max_len: 9, arrival });
    cache.reserve(&lease, 9, &mut Vec::new()).unwrap();
    cache.commit(&lease, &token_ids, 9);
    cache.release(lease);
    let mut queue = Queue::default();
    for (id, arrival_step) in [(0, 0), (1, 1), (2, 1)] {
        let mut sequence = sequence(id, Priority::Normal, 0, arrival_step);
        if id != 1 {
            sequence.token_ids = token_ids.clone();
        }
        queue.push(sequence);
    }
    queue.waiting[0].token_ids = vec![TokenId(77)];
    let mut fairness = Fairness::default();
    fairness.enter(0);
    let config = BatchingConfig::default();
    let by = RankBy { config: &config, fairness: &fairness, cache: &cache, now_us: 1 };
    let mut order = Vec::new();
    queue.order(by, usize::MAX, &mut order);
    assert_eq!(order, [0, 2, 1], "the older first, then the one whose prefix is cached");
}

#[test]
fn limits_are_reported_with_numbers() {
    let config =
        BatchingConfig { max_queued_requests: 2, max_queued_tokens: 10, ..BatchingConfig::default() };
    let mut queue = Queue::default();
    queue.push(sequence(4, Priority::Normal, 0, 0));
    assert!(queue.check(5, &config).is_ok());
    assert_eq!(
        queue.check(6, &config).unwrap_err().to_string(),
        "the request would make it 11 but max_queued_tokens is 10; retry later or raise the limit"
    );
    queue.push(sequence(0, Priority::Normal, 0, 0));
    let full = queue.check(1, &config).unwrap_err();
    let resource = QueueLimit::Requests;
    assert_eq!(full, BatchingError::ResourceLimit { resource, limit: 2, actual: 3 });
}
