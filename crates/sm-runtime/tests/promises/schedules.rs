//! Random requests at random times on real models: everybody gets, bit for bit, what they would get alone, whatever threads,
//! chunks, batches, memory, cached prefixes, guesses, sessions and neighbours there are.
//!
//! `cargo xtask soak` runs many more schedules than the tests do.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sm_runtime::{
    BatchingConfig, BatchingStrategy, Completion, Device, Engine, EngineConfig, Error, GenerationOptions,
    Generator, Grammar, KvCacheConfig, KvDiskConfig, LoadOptions, Loader, ModelRef, Priority, Prompt,
    Request, SamplingOptions, SessionMode, SessionOptions, SpeculationConfig, StopRules, Threads, TokenId,
};

/// What one model needs to be tested.
struct Subject {
    /// The device, given a number of threads.
    device: fn(usize) -> Device,
    model: ModelRef,
    draft: Option<ModelRef>,
    vocab_size: u32,
    context_len: usize,
    /// Keys and values of a page in half precision.
    page_bytes: u64,
    n_schedules: u32,
    /// Requests in a schedule, and tokens that each may write, less than so many.
    requests_below: usize,
    tokens_below: usize,
}

/// Schedules in a test, or as many times more as `cargo xtask soak` asks for.
fn schedules(n: u32) -> u32 {
    n * std::env::var("SM_SOAK").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

#[derive(Clone, Debug)]
struct Arrival {
    prompt: Vec<u32>,
    seed: u64,
    n_tokens: usize,
    temperature: f32,
    repetition_penalty: f32,
    n: usize,
    logprobs: Option<usize>,
    stop: Option<u32>,
    priority: Priority,
    is_cancelled: bool,
    /// Tokens of a second turn in a session.
    second: Option<Vec<u32>>,
    grammar: bool,
}

fn arrival(subject: &Subject) -> impl Strategy<Value = Arrival> + use<> {
    let &Subject { vocab_size, context_len, tokens_below, .. } = subject;
    let most = (context_len / 2).min(400);
    // Few beginnings, so that prefixes are shared.
    let start = (0u32..3, 0usize..most / 2).prop_map(move |(kind, len)| {
        (0..len as u32).map(|i| (i * (7 + kind) + kind) % vocab_size).collect::<Vec<u32>>()
    });
    let prompt =
        (start, prop::collection::vec(0..vocab_size, 1..most / 2)).prop_map(|(a, b)| [a, b].concat());
    let sampling = (
        any::<u64>(),
        prop_oneof![Just(0.0f32), 0.3f32..1.5],
        prop_oneof![2 => Just(1.0f32), 1 => 0.9f32..1.3],
    );
    let shape =
        (1..tokens_below, 1usize..4, prop::option::of(0usize..3), prop::option::weighted(0.2, 0..vocab_size));
    let priorities = prop_oneof![
        Just(Priority::Low),
        Just(Priority::Normal),
        Just(Priority::High),
        Just(Priority::Critical)
    ];
    let second = prop::option::weighted(0.25, prop::collection::vec(0..vocab_size, 1..12));
    let service = (priorities, prop::bool::weighted(0.1), second, prop::bool::weighted(0.1));
    (prompt, sampling, shape, service).prop_map(|(prompt, sampling, shape, service)| {
        let (seed, temperature, repetition_penalty) = sampling;
        let (n_tokens, n, logprobs, stop) = shape;
        let (priority, is_cancelled, second, grammar) = service;
        Arrival {
            prompt,
            seed,
            n_tokens,
            temperature,
            repetition_penalty,
            n: if second.is_some() { 1 } else { n },
            logprobs,
            stop,
            priority,
            is_cancelled,
            second,
            grammar,
        }
    })
}

/// The directory of a test's disk tier, which all its schedules share as a program shares it with its next run.
struct KvDir(KvDiskConfig);

impl KvDir {
    fn new(subject: &Subject) -> Self {
        static N_TESTS: AtomicUsize = AtomicUsize::new(0);
        let (process, test) = (std::process::id(), N_TESTS.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("sm-schedules-{process}-{test}"));
        // Less than the schedules would fill.
        Self(KvDiskConfig::new(dir, 50 * subject.page_bytes))
    }
}

impl Drop for KvDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0.dir);
    }
}

/// The CPU with exactly so many threads.
fn cpu(n_threads: usize) -> Device {
    Device::Cpu { isa: None, threads: Threads::Exactly(n_threads) }
}

/// Settings of an engine, and whether it has a draft model.
fn settings(subject: &Subject) -> impl Strategy<Value = (EngineConfig, bool)> + use<> {
    let &Subject { device, page_bytes, context_len, .. } = subject;
    let one = context_len.div_ceil(16) as u64;
    let strategy = prop_oneof![
        3 => Just(BatchingStrategy::Continuous),
        1 => Just(BatchingStrategy::Naive),
        1 => Just(BatchingStrategy::Bucketed),
    ];
    let batching = (strategy, any::<bool>(), 3usize..10, 16usize..200, 0usize..60);
    let rest = (1usize..5, one..4 * one, any::<bool>(), any::<bool>(), any::<bool>());
    (batching, rest).prop_map(move |(batching, (n_threads, n_pages, prefix_sharing, lookup, drafts))| {
        let (strategy, prefill_only, max_batch_size, max_step_tokens, max_chunk_tokens) = batching;
        let mut speculation = SpeculationConfig::new();
        speculation.lookup = lookup;
        let config = EngineConfig::new()
            .load(LoadOptions::new().device(device(n_threads)))
            .batching(
                BatchingConfig::new()
                    .strategy(strategy)
                    .prefill_only(prefill_only)
                    .max_batch_size(max_batch_size)
                    .max_step_tokens(max_step_tokens)
                    .max_chunk_tokens(max_chunk_tokens)
                    .max_batch_wait_us(0),
            )
            .cache(KvCacheConfig::new().prefix_sharing(prefix_sharing).max_bytes_total(n_pages * page_bytes))
            .speculation(speculation);
        (config, drafts)
    })
}

fn options(arrival: &Arrival, has_tokenizer: bool) -> GenerationOptions {
    let grammar = (arrival.grammar && has_tokenizer).then(|| Grammar::Regex("([a-z]{1,6} )+".to_owned()));
    let sampling = SamplingOptions::new()
        .seed(arrival.seed)
        .temperature(arrival.temperature)
        .repetition_penalty(arrival.repetition_penalty);
    let stop = StopRules::new().token_ids(arrival.stop.map(TokenId).into_iter().collect());
    let mut options = GenerationOptions::new().sampling(sampling).stop(stop).max_new_tokens(arrival.n_tokens);
    options.logprobs = arrival.logprobs;
    options.grammar = grammar.filter(|_| cfg!(feature = "grammar"));
    options
}

fn tokens(ids: &[u32]) -> Vec<TokenId> {
    ids.iter().copied().map(TokenId).collect()
}

/// Tokens, log-probabilities and end, which must be the same bits.
fn bits(completion: &Completion) -> (Vec<TokenId>, Vec<u32>, &'static str) {
    let logprobs = completion.logprobs.iter().map(|token| token.logprob.to_bits()).collect();
    (completion.tokens.clone(), logprobs, completion.finish_reason.name())
}

/// What a request gets on a generator, which knows nothing of schedulers and caches.
fn alone(generator: &mut Generator, prompt: &[TokenId], options: &GenerationOptions) -> Completion {
    generator.reset();
    generator.generate(&Prompt::Tokens(prompt.to_vec()), options).unwrap()
}

/// The generator that knows what is right.
fn generator(subject: &Subject) -> Generator {
    let options = LoadOptions::new().device((subject.device)(1));
    Generator::new(Loader::new(subject.model.clone()).options(options).load().unwrap()).unwrap()
}

fn run(subject: &Subject) {
    let mut generator = generator(subject);
    let has_tokenizer = generator.model().tokenizer().is_some();
    let config =
        Config { cases: schedules(subject.n_schedules), failure_persistence: None, ..Config::default() };
    let strategy = (
        prop::collection::vec(arrival(subject), 1..subject.requests_below),
        settings(subject),
        any::<bool>(),
    );
    let kv_dir = KvDir::new(subject);
    let n_restored = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(config);
    let generator = std::cell::RefCell::new(&mut generator);
    let result = runner.run(&strategy, |(arrivals, (mut config, drafts), has_disk)| {
        config.kv_disk = (has_disk && config.cache.prefix_sharing).then(|| kv_dir.0.clone());
        let engine = start(subject, config, drafts);
        let sent: Vec<_> =
            arrivals.iter().enumerate().map(|sent| submit(&engine, sent, has_tokenizer)).collect();
        for ((index, arrival), handle) in arrivals.iter().enumerate().zip(sent) {
            let options = options(arrival, has_tokenizer);
            let completions = match handle.and_then(sm_runtime::RequestHandle::wait) {
                Err(Error::Cancelled) if arrival.is_cancelled => continue,
                completions => completions.unwrap(),
            };
            let mut generator = generator.borrow_mut();
            let expected = alone(&mut generator, &tokens(&arrival.prompt), &options);
            if !arrival.is_cancelled {
                prop_assert_eq!(bits(&completions[0]), bits(&expected), "request {}", index);
                prop_assert_eq!(completions.len(), arrival.n);
            }
            if let (Some(second), false) = (&arrival.second, arrival.is_cancelled) {
                let transcript =
                    [&tokens(&arrival.prompt)[..], &completions[0].tokens, &tokens(second)].concat();
                let session = engine.session(session_of(index)).unwrap();
                let got = session
                    .submit(Prompt::Tokens(transcript.clone()), options.clone())
                    .unwrap()
                    .wait()
                    .unwrap();
                prop_assert_eq!(
                    bits(&got[0]),
                    bits(&alone(&mut generator, &transcript, &options)),
                    "turn of {}",
                    index
                );
            }
        }
        let stats = engine.stats();
        prop_assert_eq!((stats.live_requests, stats.cache.current_leases), (0, 0));
        prop_assert_eq!(stats.kv_disk.damaged_pages, 0);
        n_restored.set(n_restored.get() + stats.kv_disk.restored_pages);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    println!("{} pages came from the disk", n_restored.get());
    // A few schedules may happen to repeat nothing.
    assert!(n_restored.get() > 0 || subject.n_schedules < 100);
}

/// The session of a request with two turns.
fn session_of(index: usize) -> SessionOptions {
    SessionOptions::named(format!("session {index}")).mode(SessionMode::Prefix)
}

fn start(subject: &Subject, config: EngineConfig, drafts: bool) -> Engine {
    let builder = Engine::builder().config(config);
    let builder = match subject.draft.clone().filter(|_| drafts) {
        Some(draft) => builder.draft(draft),
        None => builder,
    };
    builder.load(subject.model.clone()).unwrap()
}

fn submit(
    engine: &Engine,
    (index, arrival): (usize, &Arrival),
    has_tokenizer: bool,
) -> Result<sm_runtime::RequestHandle, Error> {
    let options = options(arrival, has_tokenizer);
    let prompt = Prompt::Tokens(tokens(&arrival.prompt));
    let handle = match arrival.second {
        Some(_) => engine.session(session_of(index))?.submit(prompt, options),
        None => {
            let (n, priority) = (arrival.n, arrival.priority);
            engine.submit(Request::new(prompt, options).n(n).priority(priority))
        }
    }?;
    if arrival.is_cancelled {
        handle.cancel();
    }
    Ok(handle)
}

#[cfg(feature = "demo-model")]
#[test]
fn schedules_on_the_demo_model() {
    run(&Subject {
        device: cpu,
        model: ModelRef::Demo,
        draft: Some(ModelRef::DemoDraft),
        vocab_size: 2048,
        context_len: 1024,
        // 5 layers of 4 heads, keys and values of 32 halves, 16 positions.
        page_bytes: 2 * 5 * 4 * 32 * 2 * 16,
        n_schedules: 24,
        requests_below: 9,
        tokens_below: 40,
    });
}

/// A random model with grouped heads.
fn grouped_heads(n_schedules: u32, requests_below: usize, tokens_below: usize) -> Subject {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sm-model/tests/data/arch/llama-gqa");
    Subject {
        device: cpu,
        model: ModelRef::Path(path),
        draft: None,
        vocab_size: 56,
        context_len: 256,
        // 2 layers of 2 heads, keys and values of 8 halves, 16 positions.
        page_bytes: 2 * 2 * 2 * 8 * 2 * 16,
        n_schedules,
        requests_below,
        tokens_below,
    }
}

#[test]
fn schedules_on_a_random_model_with_grouped_heads() {
    run(&grouped_heads(200, 9, 40));
}

#[test]
fn small_schedules_on_a_random_model_with_grouped_heads() {
    run(&grouped_heads(1800, 5, 12));
}

#[cfg(feature = "gpu")]
#[test]
fn schedules_on_a_gpu() {
    let subject = Subject { device: |_| Device::Gpu(0), ..grouped_heads(200, 7, 20) };
    match Loader::new(subject.model.clone()).options(LoadOptions::new().device(Device::Gpu(0))).plan() {
        Ok(_) => run(&subject),
        Err(error) if std::env::var_os("GPU_TESTS").is_some_and(|value| value == "require") => {
            panic!("{error}")
        }
        Err(error) => crate::testing::skip(&error).unwrap_or_default(),
    }
}
