//! What the plan of an engine's memory says, against what the process then takes: alone in its process, all pages written. Pages of
//! the program and of mapped files do not count; the system can take them back.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use sm_runtime::{
    BatchingConfig, Device, Engine, EngineConfig, GenerationOptions, KvCacheConfig, LoadOptions, ModelRef,
    Prompt, Request, TokenId,
};

const N_SEQUENCES: u64 = 24;
const CONTEXT_LEN: u64 = 1024;
/// Keys and values of a page of the demo model: 5 layers of 4 heads, 32 halves each, 16 positions.
const PAGE_BYTES: u64 = 2 * 5 * 4 * 32 * 2 * 16;

/// A line of the process's status, in bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A prompt that shares nothing with another.
fn prompt(number: u32) -> Prompt {
    let token = |index: u32| TokenId((number * 977 + index * 31 + index * index * 7) % 2048);
    Prompt::Tokens((0..CONTEXT_LEN as u32 - 2).map(token).collect())
}

#[test]
fn the_plan_is_within_a_tenth_of_what_is_taken() {
    let before = status("RssAnon");
    let max_bytes_total = N_SEQUENCES * (CONTEXT_LEN / 16) * PAGE_BYTES;
    let config = EngineConfig::new()
        // To look for a GPU loads its driver, which takes memory of its own.
        .load(LoadOptions::new().device(Device::cpu()))
        .batching(BatchingConfig::new().max_batch_wait_us(0))
        .cache(KvCacheConfig::new().max_bytes_total(max_bytes_total));
    let engine = Engine::builder().config(config).load(ModelRef::Demo).unwrap();
    let plan = engine.memory_plan(N_SEQUENCES, CONTEXT_LEN);
    let options = GenerationOptions::new().max_new_tokens(1);
    let submit = |number| engine.submit(Request::new(prompt(number), options.clone())).unwrap();
    let handles: Vec<_> = (0..2 * N_SEQUENCES as u32).map(submit).collect();
    handles.into_iter().for_each(|handle| assert_eq!(handle.wait().unwrap()[0].usage.cached_tokens, 0));
    let (planned, measured) = (plan.total_bytes().unwrap(), status("RssAnon") - before);
    println!("{plan}\nmeasured   {:.2} MB", measured as f64 / f64::from(1 << 20));
    assert!(measured.abs_diff(planned) * 10 <= planned, "{measured} bytes were taken, {planned} planned");
    let held = engine.stats().cache.current_bytes;
    assert_eq!(engine.trim_memory(0).unwrap(), 0);
    let left = status("RssAnon") - before;
    assert!(left + held / 2 < measured, "{measured} bytes, and {left} after {held} were given back");
    let again = engine.submit(Request::new(prompt(0), options.clone())).unwrap();
    assert_eq!(again.wait().unwrap()[0].usage.cached_tokens, 0);
}
