//! Decoding allocates nothing, neither in the scheduler nor in the cache.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use sm_batching::{BatchingConfig, Request, RequestId, Results, Scheduler, SequenceId, StepLimits, Verdict};
use sm_cache::{KvCache, KvCacheConfig, KvShape, Namespace, PagePool};
use sm_tensor::TokenId;

struct Counting;

thread_local! {
    /// Of this thread alone: the test harness may allocate in its own at any time.
    static N_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[allow(unsafe_code, reason = "a global allocator is unsafe to implement")]
// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        N_ALLOCATIONS.set(N_ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What an engine does, without the executor: every sample is the step's number, and half of the sequences draft.
fn step(scheduler: &mut Scheduler, cache: &mut KvCache, results: &mut Results, ids: &mut Vec<SequenceId>) {
    let number = scheduler.stats().steps as u32;
    ids.clear();
    results.clear();
    for part in scheduler.schedule(u64::from(number), cache).unwrap().parts() {
        ids.push(part.id);
        results.push(&[TokenId(number)], Verdict::Continue);
    }
    scheduler.commit(results, 1000, cache);
    for id in ids.iter().step_by(2) {
        scheduler.propose(*id, &[TokenId(number + 1), TokenId(number), TokenId(number)]);
    }
}

/// Decodes 8 sequences, and returns the number of allocations once all lists have grown to their sizes.
fn n_allocations_of_decoding(pool: PagePool) -> usize {
    let mut cache = KvCache::new(KvCacheConfig::default(), pool).unwrap();
    let limits = StepLimits::new(512).max_outputs(64).max_sequences(8).row_group(4);
    let mut scheduler = Scheduler::new(BatchingConfig::default(), limits).unwrap();
    let namespace = Arc::new(Namespace::default());
    for first in 0..8 {
        let prompt = (first..first + 40).map(TokenId).collect();
        let request = Request::new(RequestId(first.into()), prompt, Arc::clone(&namespace), 600);
        scheduler.submit(request, 0, &cache).unwrap();
    }
    let (mut results, mut ids) = (Results::new(), Vec::new());
    for _ in 0..5 {
        step(&mut scheduler, &mut cache, &mut results, &mut ids);
    }
    let before = N_ALLOCATIONS.get();
    for _ in 0..300 {
        step(&mut scheduler, &mut cache, &mut results, &mut ids);
    }
    let n_allocations = N_ALLOCATIONS.get() - before;
    assert!(scheduler.stats().accepted_drafts > 0 && scheduler.n_running() == 8);
    n_allocations
}

const SHAPE: KvShape = KvShape { n_layers: 1, n_kv_heads: 1, head_bytes: 4 };

#[test]
fn decoding_allocates_nothing() {
    const fn is_send<T: Send>() {}
    is_send::<Scheduler>();
    assert_eq!(n_allocations_of_decoding(PagePool::new(400, 16, SHAPE)), 0);
}

#[test]
fn decoding_with_recurrent_states_allocates_nothing() {
    assert_eq!(n_allocations_of_decoding(PagePool::new(400, 16, SHAPE).with_states(64, 4)), 0);
}
