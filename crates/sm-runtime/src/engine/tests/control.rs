//! Looking at a running engine, changing it, and what it tells of itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sm_batching::{BatchingConfig, BatchingStrategy, Suggestion};
use sm_cache::{CacheEvent, CacheObserver};

use super::watching::gated;
use super::{SIZE, alone, always, config, engine_of, request, seeded, text};
use crate::testing::{FakeSize, fake_model, hashed};
use crate::{
    CancelToken, Engine, EngineConfig, Error, GenerationStrategy, LimitedResource, MetricsSink, Prompt,
    QueueLimit, RecentMetrics, Request, RequestMetrics, Resource, SessionOptions, StepMetrics,
};

fn with_batching(change: impl FnOnce(&mut BatchingConfig)) -> EngineConfig {
    let mut config = config();
    change(&mut config.batching);
    config
}

#[test]
fn settings_change_while_requests_run() {
    let engine = Engine::start(fake_model(SIZE, hashed).0, with_batching(|b| b.max_batch_size = 2)).unwrap();
    let before: Vec<_> = (0..4).map(|seed| engine.submit(request("abc", seed, 30)).unwrap()).collect();
    assert_eq!(engine.stats().max_running, Some(2));
    engine.reconfigure(with_batching(|b| b.max_batch_size = 4).batching).unwrap();
    let stats = engine.stats();
    assert_eq!((stats.max_running, stats.batch_size), (Some(4), 4));
    let after = engine.submit(Request { n: 4, ..request("abc", 9, 5) }).unwrap();
    assert_eq!(after.wait().unwrap().len(), 4, "as many choices as the new batch size");
    for (seed, handle) in before.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap()[0].tokens, alone(&request("abc", seed as u64, 30)).tokens);
    }
    let refused = |batching| engine.reconfigure(batching).unwrap_err().to_string();
    let error = refused(with_batching(|b| b.max_batch_size = 5).batching);
    assert_eq!(
        error,
        "max_batch_size cannot become 5: the executor was prepared for at most 4; load the model with a higher limit"
    );
    assert!(refused(with_batching(|b| b.bucket_size = 0).batching).contains("bucket_size"));
    assert_eq!(engine.stats().batch_size, 4, "what is refused changes nothing");
}

#[test]
fn the_configuration_of_an_engine_is_what_it_uses() {
    let mut wanted = config();
    wanted.batching.strategy = BatchingStrategy::MemoryAware;
    wanted.batching.max_batch_size = 0;
    let engine = Engine::start(fake_model(SIZE, hashed).0, wanted.clone()).unwrap();
    let text = engine.config().to_string();
    for line in [
        format!("load.context_len = {}", SIZE.context_len),
        format!("batching.max_batch_size = {}", SIZE.n_sequences),
        format!("batching.max_chunk_tokens = {}", SIZE.max_tokens),
        "batching.max_total_tokens = 32768".to_owned(),
        "batching.memory_limit = 4.00 GB".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert_eq!(engine.config().cache, wanted.cache);
}

#[test]
fn the_context_can_become_shorter_and_longer_again() {
    let engine = engine_of(hashed);
    engine.set_context_len(16).unwrap();
    assert_eq!(engine.context_len(), 16);
    let completion = engine.generate(text("hello"), &seeded(1, 40)).unwrap();
    assert_eq!(completion.prompt_tokens.len() + completion.tokens.len(), 16);
    assert!(matches!(
        engine.generate(text(&"x".repeat(17)), &seeded(1, 4)),
        Err(Error::ResourceLimit { resource: LimitedResource::Context, limit: 16, .. })
    ));
    engine.set_context_len(SIZE.context_len).unwrap();
    let completion = engine.generate(text("hello"), &seeded(1, 40)).unwrap();
    assert_eq!(completion.tokens.len(), 40);
    for impossible in [0, SIZE.context_len + 1] {
        assert!(matches!(
            engine.set_context_len(impossible),
            Err(Error::Validation { field: "context_len", .. })
        ));
    }
}

#[test]
fn without_a_limit_as_many_run_as_a_step_has_room_for() {
    let engine = Engine::start(fake_model(SIZE, hashed).0, with_batching(|b| b.max_batch_size = 0)).unwrap();
    let stats = engine.stats();
    assert_eq!(
        (stats.max_running, stats.available_slots(), stats.batch_size),
        (None, None, SIZE.n_sequences)
    );
    let handles: Vec<_> = (0..9).map(|seed| engine.submit(request("abc", seed, 9)).unwrap()).collect();
    handles.into_iter().for_each(|handle| assert_eq!(handle.wait().unwrap()[0].tokens.len(), 9));
}

#[test]
fn a_memory_aware_batch_counts_the_bytes_of_the_executor() {
    // 8 bytes for a position of the fake model: its keys and its values.
    let config = with_batching(|batching| {
        batching.strategy = BatchingStrategy::MemoryAware;
        batching.memory_limit_bytes = Some(8 * 40);
    });
    let (model, steps) = fake_model(SIZE, hashed);
    let engine = Engine::start(model, config).unwrap();
    let handles: Vec<_> =
        (0..4).map(|seed| engine.submit(request("abcdefghij", seed, 10)).unwrap()).collect();
    handles.into_iter().for_each(|handle| assert_eq!(handle.wait().unwrap()[0].tokens.len(), 10));
    let most = steps.lock().unwrap().iter().map(|(_, _, n_outputs)| *n_outputs).max();
    assert_eq!(most, Some(2), "two sequences of 20 positions");
    match engine.submit(request("abcdefghij", 1, 31)).unwrap().wait() {
        Err(Error::ResourceLimit {
            resource: LimitedResource::Queue(QueueLimit::BatchBytes),
            limit: 320,
            actual: 328,
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn statistics_do_not_wait_for_a_step() {
    let (predict, permits) = gated(hashed);
    let engine = engine_of(predict);
    let running = engine.submit(request("abc", 1, 2)).unwrap();
    assert_eq!(engine.stats().live_requests, 1);
    permits.send(()).unwrap();
    // The first step is over when its statistics are there; the second cannot be.
    while engine.stats().batching.generated_tokens < 1 {
        std::thread::yield_now();
    }
    let stats = engine.stats();
    assert_eq!((stats.batching.generated_tokens, stats.running, stats.waiting), (1, 1, 0));
    drop(permits);
    running.wait().unwrap();
    let stats = engine.stats();
    assert_eq!((stats.batching.generated_tokens, stats.live_requests), (2, 0), "who is answered is counted");
    engine.shut_down(Duration::ZERO).unwrap();
    assert_eq!(engine.stats().batching.generated_tokens, 2, "the last numbers stay");
}

#[test]
fn a_private_session_is_forgotten_with_its_last_handle() {
    let engine = engine_of(hashed);
    let session = engine.session(SessionOptions::private()).unwrap();
    let other = engine.session(SessionOptions::private()).unwrap();
    assert_ne!(session.id(), other.id());
    session.generate("hello", &seeded(1, 10)).unwrap();
    let again = session.clone();
    drop(session);
    assert!(again.generate("!", &seeded(1, 10)).unwrap().prompt_tokens.len() > 15, "it remembers");
    assert_eq!(engine.stats().cache.current_sessions, 1);
    let running = again.submit(Prompt::Append(".".into()), seeded(1, 10)).unwrap();
    drop(again);
    assert_eq!(running.wait().unwrap()[0].tokens.len(), 10, "a call goes on without its handle");
    while engine.stats().cache.current_sessions > 0 {
        std::thread::yield_now();
    }
    drop(other);
    assert_eq!(engine.stats().cache.current_sessions, 0);
}

#[test]
fn a_token_ends_a_request_that_waits_and_one_that_runs() {
    let long = FakeSize { context_len: 1 << 14, ..SIZE };
    let engine =
        Engine::start(fake_model(long, always('a')).0, with_batching(|b| b.max_batch_size = 1)).unwrap();
    let cancel = [CancelToken::new(), CancelToken::new()];
    let with = |cancel: &CancelToken| Request { cancel: Some(cancel.clone()), ..request("abc", 1, 16_000) };
    let mut running = engine.stream(with(&cancel[0])).unwrap();
    running.next_blocking().unwrap().unwrap();
    let waiting = engine.submit(with(&cancel[1])).unwrap();
    cancel[1].cancel();
    assert!(matches!(waiting.wait(), Err(Error::Cancelled)));
    assert!(running.next_blocking().unwrap().is_ok(), "the other one goes on");
    cancel[0].cancel();
    while running.next_blocking().is_some() {}
    assert_eq!(running.finish().unwrap()[0].finish_reason, crate::FinishReason::Cancelled);
}

#[test]
fn a_blocking_call_can_be_cancelled_from_elsewhere() {
    let (predict, permits) = gated(hashed);
    let engine = Engine::start(fake_model(SIZE, predict).0, config()).unwrap();
    let cancel = CancelToken::new();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| engine.generate_cancellable(text("abc"), &seeded(1, 40), &cancel));
        cancel.cancel();
        drop(permits);
        assert!(matches!(call.join().unwrap(), Err(Error::Cancelled)));
    });
    let completion = engine.generate_cancellable(text("abc"), &seeded(1, 4), &CancelToken::new()).unwrap();
    assert_eq!(completion.tokens, alone(&request("abc", 1, 4)).tokens);
}

#[test]
fn a_batch_tells_how_many_are_done_and_keeps_to_its_cap() {
    let engine = engine_of(hashed);
    let told = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&told);
    let prompts = (0..7).map(|index| text(&"ab".repeat(1 + index)));
    let run = engine.generate_batch(prompts, &seeded(u64::MAX, 6)).max_parallel(2);
    let mut largest = 0;
    let results = run.on_progress(move |n_done| note.lock().unwrap().push(n_done)).map(|completion| {
        largest = largest.max(engine.stats().live_requests);
        completion.unwrap().seed
    });
    assert_eq!(results.collect::<Vec<_>>(), [u64::MAX, 0, 1, 2, 3, 4, 5], "seed + i, wrapping");
    assert_eq!(*told.lock().unwrap(), [1, 2, 3, 4, 5, 6, 7]);
    assert!(largest <= 2, "{largest} at a time");
}

/// Counts what it is told.
#[derive(Clone, Debug, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl CacheObserver for Notes {
    fn on_event(&mut self, event: &CacheEvent<'_>) {
        let note = match event {
            CacheEvent::BudgetExceeded { session, resource, current, max } => {
                format!("{session}: {resource} {current} of {max}")
            }
            CacheEvent::Evicted { reason, .. } => format!("{reason:?}"),
            _ => unreachable!("{event:?}"),
        };
        self.0.lock().unwrap().push(note);
    }
}

#[test]
fn limits_of_sessions_are_told_with_numbers_to_callers_and_observers() {
    let notes = Notes::default();
    let cache = config().cache.max_tokens_per_session(16);
    let config = EngineConfig { cache, ..config() };
    let builder = Engine::builder().config(config).cache_observer(Box::new(notes.clone()));
    let engine = builder.start(fake_model(SIZE, hashed).0, None).unwrap();
    match engine.session("talk").unwrap().generate(&"x".repeat(20), &seeded(1, 4)) {
        Err(Error::ResourceLimit {
            resource: LimitedResource::Cache(Resource::SessionTokens),
            limit: 16,
            actual: 20,
        }) => {}
        other => panic!("{other:?}"),
    }
    engine.generate(text("abcdefghijklmnopqrs"), &seeded(1, 20)).unwrap();
    assert_eq!(engine.trim_memory(0).unwrap(), 0);
    let told = notes.0.lock().unwrap();
    assert_eq!(told.first().unwrap(), "talk: max_tokens_per_session 20 of 16");
    assert!(told.len() > 1 && told[1..].iter().all(|note| note == "Trim"), "{told:?}");
}

#[test]
fn trimming_harms_nobody_who_runs() {
    let engine = engine_of(hashed);
    let requests: Vec<_> =
        (0..12).map(|seed| request(&"abc".repeat(1 + seed as usize % 7), seed, 30)).collect();
    let handles: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    while engine.stats().live_requests > 0 {
        let held = engine.trim_memory(0).unwrap();
        assert!(held <= engine.stats().cache.max_bytes);
    }
    for (request, handle) in requests.iter().zip(handles) {
        assert_eq!(handle.wait().unwrap()[0].tokens, alone(request).tokens);
    }
    assert_eq!(engine.trim_memory(0).unwrap(), 0);
    assert_eq!(engine.stats().cache.current_bytes, 0);
}

#[derive(Debug, Default)]
struct Steps(Mutex<Vec<StepMetrics>>);

impl MetricsSink for Steps {
    fn step(&self, step: &StepMetrics) {
        self.0.lock().unwrap().push(*step);
    }

    fn request(&self, _request: &RequestMetrics) {}
}

#[test]
fn the_phases_of_a_step_are_within_its_time() {
    let steps = Arc::new(Steps::default());
    let slow = |history: &[_]| {
        std::thread::sleep(Duration::from_millis(2));
        hashed(history)
    };
    let builder = Engine::builder().config(config()).metrics(Arc::clone(&steps) as Arc<dyn MetricsSink>);
    let engine = builder.start(fake_model(SIZE, slow).0, None).unwrap();
    engine.generate(text("abc"), &seeded(1, 10)).unwrap();
    engine.shut_down(Duration::from_secs(10)).unwrap();
    let steps = steps.0.lock().unwrap();
    assert_eq!(steps.len(), 10);
    for StepMetrics { time, phases, .. } in &*steps {
        let sum = phases.schedule + phases.compute + phases.sample + phases.commit;
        assert!(phases.compute >= Duration::from_millis(2) && sum <= *time, "{phases:?} of {time:?}");
    }
}

#[test]
fn what_requests_wait_and_how_many_is_measured() {
    let metrics = Arc::new(RecentMetrics::default());
    let slow = |history: &[_]| {
        std::thread::sleep(Duration::from_millis(2));
        hashed(history)
    };
    let one = with_batching(|batching| batching.max_batch_size = 1);
    let builder = Engine::builder().config(one).metrics(Arc::clone(&metrics) as Arc<dyn MetricsSink>);
    let engine = builder.start(fake_model(SIZE, slow).0, None).unwrap();
    let handles: Vec<_> = (0..3).map(|seed| engine.submit(request("abc", seed, 10)).unwrap()).collect();
    handles.into_iter().for_each(|handle| assert_eq!(handle.wait().unwrap()[0].tokens.len(), 10));
    let average_ms = engine.stats().average_wait_ms();
    engine.shut_down(Duration::from_secs(10)).unwrap();
    let summary = metrics.summary();
    assert_eq!(summary.queue_ms.count, 3);
    // The second waits for 10 steps of the first, the third for 20.
    assert!(summary.queue_ms.max >= 40.0 && average_ms >= 20.0, "{average_ms} {:?}", summary.queue_ms);
    assert!((1.0..=2.0).contains(&summary.queue_depth.max), "{:?}", summary.queue_depth);
    assert!(summary.compute_ms.min >= 2.0 && summary.compute_ms.max <= summary.step_ms.max, "{summary:?}");
}

#[test]
fn a_completion_says_how_its_tokens_came_about() {
    let engine = engine_of(hashed);
    let plain = engine.generate(text("abc"), &seeded(1, 8)).unwrap().usage;
    assert_eq!(
        (plain.strategy(), plain.acceptance_rate(), plain.choices),
        (GenerationStrategy::Plain, None, 1)
    );
    let several = engine.submit(Request { n: 3, ..request("abc", 1, 8) }).unwrap().wait().unwrap();
    assert!(
        several
            .iter()
            .all(|one| (one.usage.strategy(), one.usage.choices) == (GenerationStrategy::Parallel, 3))
    );
    let mut lookup = config();
    lookup.speculation.lookup = true;
    let engine = Engine::start(fake_model(SIZE, always('a')).0, lookup).unwrap();
    let guessed = engine.generate(text("aaaaaaaa"), &seeded(1, 40)).unwrap().usage;
    assert_eq!((guessed.strategy(), guessed.acceptance_rate()), (GenerationStrategy::Speculative, Some(1.0)));
}

#[test]
fn batches_that_ran_say_what_would_suit_them() {
    let config = with_batching(|batching| batching.strategy = BatchingStrategy::Naive);
    let engine = Engine::start(fake_model(SIZE, hashed).0, config).unwrap();
    assert!(!engine.recommendations().unwrap().has_enough_data);
    for seed in 0..12 {
        engine.generate(text("abc"), &seeded(seed, 2)).unwrap();
    }
    let said = engine.recommendations().unwrap();
    assert!(said.has_enough_data);
    assert_eq!(said.best_strategy, BatchingStrategy::Naive);
    let is_longer = |suggestion: &Suggestion| matches!(suggestion, Suggestion::WaitLonger { .. });
    assert!(said.suggestions.iter().any(is_longer), "batches of one of four: {said:?}");
    assert_eq!(engine.stats().padding_efficiency(), 1.0);
}
