//! Checks that the engine's thread does not allocate while decoding: not to schedule, sample or answer.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use sm_benches::free::free_model;
use sm_runtime::{
    BatchingConfig, Engine, EngineConfig, GenerationOptions, Prompt, Request, SamplingOptions, StopRules,
    TokenId,
};

struct Counting;

thread_local! {
    /// Of this thread alone: callers and the test harness may allocate on theirs at any time.
    static N_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[allow(unsafe_code, reason = "a global allocator is unsafe to implement")]
// SAFETY: every call is passed on to the system's allocator.
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

/// Steps until all requests decode and all lists have grown; later steps are counted.
const WARM_UP: usize = 40;
const COUNTED: usize = 300;
const VOCAB_SIZE: usize = 512;

/// Allocations of the engine's thread before the first and before the last of the counted steps.
static BEFORE: AtomicUsize = AtomicUsize::new(0);
static AFTER: AtomicUsize = AtomicUsize::new(0);

/// Requests that use every feature of sampling and stopping, and log-probabilities.
fn request(index: usize) -> Request {
    let base = || SamplingOptions::new().seed(index as u64);
    let sampling = match index {
        0 => SamplingOptions::greedy(),
        1 => base().repetition_penalty(1.1).repetition_window(64),
        2 => base().presence_penalty(0.5).frequency_penalty(0.5),
        3 => base().top_k(0).min_p(0.05),
        4 => base().logit_bias(vec![(TokenId(7), -3.0)]).top_k(0),
        _ => base(),
    };
    let stop = StopRules::new().sequences((index == 5).then_some("no such text"));
    let prompt = (0..30).map(|token| TokenId(token * 8 + index as u32)).collect();
    let logprobs = (index >= 6).then(|| 5 * (index - 6));
    let n_tokens = WARM_UP + COUNTED + 100;
    let mut options = GenerationOptions::new().sampling(sampling).stop(stop).max_new_tokens(n_tokens);
    options.logprobs = logprobs;
    Request::new(Prompt::Tokens(prompt), options).client(index as u64 % 3)
}

#[test]
fn decoding_allocates_nothing() {
    let count = |n_steps| match n_steps {
        WARM_UP => BEFORE.store(N_ALLOCATIONS.get(), Ordering::SeqCst),
        n if n == WARM_UP + COUNTED => AFTER.store(N_ALLOCATIONS.get(), Ordering::SeqCst),
        _ => {}
    };
    let model = free_model(VOCAB_SIZE, 8, 1024, count).unwrap();
    // All start in one step: the engine waits for a full batch.
    let batching = BatchingConfig::new().max_batch_wait_us(10_000_000);
    let engine = Engine::start(model, EngineConfig::new().batching(batching)).unwrap();
    let streams: Vec<_> = (0..4).map(|index| engine.stream(request(index)).unwrap()).collect();
    let handles: Vec<_> = (4..8).map(|index| engine.submit(request(index)).unwrap()).collect();
    for mut stream in streams {
        while let Some(event) = stream.next_blocking() {
            event.unwrap();
        }
    }
    for handle in handles {
        handle.wait().unwrap();
    }
    let stats = engine.stats();
    assert_eq!(stats.batching.steps as usize, WARM_UP + COUNTED + 100, "all decode in the same steps");
    let before = BEFORE.load(Ordering::SeqCst);
    let after = AFTER.load(Ordering::SeqCst);
    assert!(0 < before, "the allocations of the engine's thread are counted");
    assert_eq!(after - before, 0);
}
