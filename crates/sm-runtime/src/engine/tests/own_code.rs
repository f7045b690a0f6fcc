//! Callers' own code on the engine's thread: it must not wait for its engine, and what panics loses its event alone.

use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use sm_cache::{CacheEvent, CacheObserver};

use super::{SIZE, alone, block_on, config, engine_of, request, seeded, text};
use crate::sampling::{History, LogitsFilter};
use crate::testing::{fake_model, hashed};
use crate::{Engine, EngineConfig, Error, MetricsSink, Request, RequestMetrics, Select, StepMetrics};

const PATIENCE: Duration = Duration::from_secs(60);

/// Calls, and whether each was refused.
type Calls = Vec<(&'static str, bool)>;

/// Every call that blocks.
fn blocking_calls(engine: &Engine) -> Calls {
    fn is_refused<T>(result: Result<T, Error>) -> bool {
        result.err().is_some_and(|error| matches!(error, Error::EngineThread))
    }
    let options = seeded(1, 3);
    let session = engine.session("talk").unwrap();
    let mut stream = engine.stream(request("abc", 1, 3)).unwrap();
    let mut batch = engine.generate_batch([text("abc"), text("b")], &options);
    vec![
        ("generate", is_refused(engine.generate(text("abc"), &options))),
        ("generate_choices", is_refused(engine.generate_choices(text("abc"), 2, Select::All, &options))),
        ("wait", is_refused(engine.submit(request("abc", 1, 3)).unwrap().wait())),
        ("next_blocking", stream.next_blocking().is_some_and(is_refused)),
        ("next_blocking again", stream.next_blocking().is_none()),
        ("finish", is_refused(engine.stream(request("abc", 1, 3)).unwrap().finish())),
        ("generate_batch", batch.next().is_some_and(is_refused)),
        ("generate_batch again", batch.next().is_none()),
        ("session.generate", is_refused(session.generate("abc", &options))),
        ("session.forget", is_refused(session.forget())),
        ("reconfigure", is_refused(engine.reconfigure(config().batching))),
        ("set_context_len", is_refused(engine.set_context_len(16))),
        ("set_kv_bytes", is_refused(engine.set_kv_bytes(1 << 20))),
        ("recommendations", is_refused(engine.recommendations())),
        ("trim_memory", is_refused(engine.trim_memory(0))),
        ("shut_down", is_refused(engine.shut_down(Duration::ZERO))),
    ]
}

/// Makes every blocking call once, wherever the engine calls it, and sends what came of it.
#[derive(Debug)]
struct Blocking {
    engine: OnceLock<Engine>,
    told: Mutex<Option<mpsc::Sender<Calls>>>,
}

impl Blocking {
    fn block(&self) {
        if let Some(engine) = self.engine.get()
            && let Some(told) = self.told.lock().unwrap().take()
        {
            told.send(blocking_calls(engine)).unwrap();
        }
    }
}

impl MetricsSink for Blocking {
    fn step(&self, _step: &StepMetrics) {
        self.block();
    }

    fn request(&self, _request: &RequestMetrics) {}
}

impl LogitsFilter for Blocking {
    fn apply(&self, _logits: &mut [f32], _history: &mut History<'_>) {
        self.block();
    }
}

#[derive(Debug)]
struct Observer(Arc<Blocking>);

impl CacheObserver for Observer {
    fn on_event(&mut self, _event: &CacheEvent<'_>) {
        self.0.block();
    }
}

/// A cache of which a second prompt evicts the first.
fn tiny_cache() -> EngineConfig {
    EngineConfig { cache: config().cache.max_bytes_total(4 * 128), ..config() }
}

#[test]
fn a_blocking_call_on_the_engines_thread_is_an_error_wherever_it_is_made() {
    for place in ["sink", "filter", "observer", "callback"] {
        let (sender, told) = mpsc::channel();
        let blocking = Arc::new(Blocking { engine: OnceLock::new(), told: Mutex::new(Some(sender)) });
        let model = fake_model(SIZE, hashed).0;
        let builder = Engine::builder().config(tiny_cache());
        let engine = match place {
            "sink" => builder.metrics(blocking.clone()).start(model, None).unwrap(),
            "observer" => {
                builder.cache_observer(Box::new(Observer(blocking.clone()))).start(model, None).unwrap()
            }
            _ => builder.start(model, None).unwrap(),
        };
        blocking.engine.set(engine.clone()).unwrap();
        let victim = match place {
            "filter" => Request { filters: vec![blocking.clone()], ..request("abc", 1, 4) },
            _ => request("abc", 1, 4),
        };
        if place == "callback" {
            let own = blocking.clone();
            engine.submit_with(victim.clone(), move |_| own.block()).unwrap();
        } else {
            engine.submit(victim.clone()).unwrap().wait().unwrap();
        }
        // Evicts what the first left.
        engine.submit(request("hello there are you still with us", 2, 20)).unwrap().wait().unwrap();
        engine.submit(request("what a long way it is until the end", 3, 20)).unwrap().wait().unwrap();
        let calls = told.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{place}: {error}"));
        for (call, is_refused) in calls {
            assert!(is_refused, "{call} in a {place}");
        }
        let last = engine.submit(victim).unwrap().wait().unwrap();
        assert_eq!(last[0].tokens, alone(&request("abc", 1, 4)).tokens, "the engine goes on");
        // It holds an engine that holds it.
        drop(engine);
    }
}

#[test]
fn what_is_over_can_be_waited_for_on_the_engines_thread() {
    let engine = engine_of(hashed);
    let done = engine.submit(request("abc", 1, 3)).unwrap();
    engine.generate(text("b"), &seeded(1, 9)).unwrap();
    while !done.status().is_over() {
        std::thread::yield_now();
    }
    let (sender, told) = mpsc::channel();
    engine.submit_with(request("b", 1, 2), move |_| sender.send(done.wait()).unwrap()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap()[0].tokens.len(), 3);
}

/// Panics with every event.
#[derive(Debug)]
struct Broken;

impl MetricsSink for Broken {
    fn step(&self, _step: &StepMetrics) {
        panic!("a sink's own panic");
    }

    fn request(&self, _request: &RequestMetrics) {
        panic!("a sink's own panic");
    }
}

impl CacheObserver for Broken {
    fn on_event(&mut self, _event: &CacheEvent<'_>) {
        panic!("an observer's own panic");
    }
}

#[test]
fn a_sink_that_panics_loses_its_events_and_nothing_else() {
    let engine = Engine::builder()
        .config(config())
        .metrics(Arc::new(Broken))
        .start(fake_model(SIZE, hashed).0, None)
        .unwrap();
    for seed in 0..3 {
        let request = request("abc", seed, 5);
        assert_eq!(engine.submit(request.clone()).unwrap().wait().unwrap()[0].tokens, alone(&request).tokens);
    }
    // The last request's event may still be on its way when it is answered.
    engine.set_context_len(SIZE.context_len).unwrap();
    let stats = engine.stats();
    assert_eq!(stats.lost_events, stats.batching.steps + 3);
}

#[test]
fn a_cache_observer_that_panics_loses_its_events_and_nothing_else() {
    let engine = Engine::builder()
        .config(tiny_cache())
        .cache_observer(Box::new(Broken))
        .start(fake_model(SIZE, hashed).0, None)
        .unwrap();
    for seed in 0..3 {
        let request = request(["hello there are you", "what a long way it is", "abc"][seed], seed as u64, 20);
        assert_eq!(engine.submit(request.clone()).unwrap().wait().unwrap()[0].tokens, alone(&request).tokens);
    }
    assert!(engine.stats().lost_events > 0 && engine.stats().cache.evictions > 0, "{:?}", engine.stats());
}

#[test]
fn calls_can_be_awaited_and_take_effect_even_if_they_are_not() {
    let engine = engine_of(hashed);
    let mut batching = config().batching;
    batching.max_batch_size = 2;
    block_on(engine.reconfigure_async(batching.clone())).unwrap();
    assert_eq!(engine.stats().max_running, Some(2));
    batching.max_batch_size = 3;
    drop(engine.reconfigure_async(batching.clone()));
    engine.generate(text("abc"), &seeded(1, 4)).unwrap();
    assert_eq!(engine.stats().max_running, Some(3));
    batching.max_batch_size = 99;
    assert!(block_on(engine.reconfigure_async(batching)).is_err());
    assert_eq!(block_on(engine.trim_memory_async(0)).unwrap(), 0);
    let session = engine.session("talk").unwrap();
    session.generate("abc", &seeded(1, 4)).unwrap();
    block_on(session.forget_async()).unwrap();
    assert_eq!(engine.stats().cache.current_sessions, 0);
    let running = engine.submit(request("abc", 1, 20)).unwrap();
    let ends = [engine.shut_down_async(Duration::MAX), engine.shut_down_async(Duration::MAX)];
    ends.into_iter().for_each(block_on);
    assert_eq!(running.wait().unwrap()[0].tokens.len(), 20);
    block_on(engine.shut_down_async(Duration::ZERO));
    assert!(matches!(block_on(engine.trim_memory_async(0)), Err(Error::ShutDown)));
}
