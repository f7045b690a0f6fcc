//! Tokens that several requests share, limits that become lower, full queues, and calls after or at the end.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use sm_kernels::plan::ExecError;

use super::watching::diarist;
use super::{SIZE, alone, always, config, engine_of, request, seeded, text};
use crate::testing::{FakeSize, fake_model, hashed, losing, token_of};
use crate::{
    CancelToken, Engine, EngineConfig, Error, ErrorKind, GenerationStrategy, LimitedResource, MetricsSink,
    RecentMetrics, Request, RequestHandle, RequestMetrics, Resource, SessionId, SessionMode, StepMetrics,
};

#[test]
fn a_token_outlives_the_requests_that_share_it() {
    let engine = engine_of(hashed);
    let cancel = CancelToken::new();
    let with_token = |seed| Request { cancel: Some(cancel.clone()), ..request("abc", seed, 20) };
    let mut stream = engine.stream(with_token(1)).unwrap();
    while stream.next_blocking().is_some() {}
    drop(stream);
    drop(engine.submit(with_token(2)).unwrap());
    engine.submit(with_token(3)).unwrap().cancel();
    assert!(!cancel.is_cancelled());
    let last = engine.submit(with_token(4)).unwrap().wait().unwrap();
    assert_eq!(last[0].tokens, alone(&request("abc", 4, 20)).tokens);
    cancel.cancel();
    assert!(matches!(engine.submit(with_token(5)).unwrap().wait(), Err(Error::Cancelled)));
}

#[test]
fn whoever_waits_for_more_than_a_lower_limit_is_told() {
    let long = FakeSize { context_len: 1 << 14, ..SIZE };
    let mut one = config();
    one.batching.max_batch_size = 1;
    let engine = Engine::start(fake_model(long, always('a')).0, one).unwrap();
    let mut running = engine.stream(request("abc", 1, 10_000)).unwrap();
    running.next_blocking().unwrap().unwrap();
    let large = engine.submit(request(&"abc".repeat(100), 2, 4)).unwrap();
    let small = engine.submit(request("abc", 3, 4)).unwrap();
    // Ten pages of 16 positions, 8 bytes each.
    engine.set_kv_bytes(10 * 16 * 8).unwrap();
    match large.wait() {
        Err(Error::ResourceLimit {
            resource: LimitedResource::Cache(Resource::TotalBytes),
            limit: 1280,
            actual: 2432,
        }) => {}
        other => panic!("{other:?}"),
    }
    drop(running);
    assert_eq!(small.wait().unwrap()[0].tokens.len(), 4, "others go on");
    assert!(engine.set_kv_bytes(1).unwrap_err().to_string().contains("at least one page"));
}

#[test]
fn a_batch_waits_for_room_in_the_queue() {
    let mut small = config();
    small.batching.max_queued_requests = 2;
    small.batching.max_batch_size = 0;
    let engine = Engine::start(fake_model(SIZE, hashed).0, small).unwrap();
    let prompts = || (0..40).map(|index| text(&"ab".repeat(1 + index % 9)));
    let results = std::thread::scope(|scope| {
        let run = || engine.generate_batch(prompts(), &seeded(7, 9)).collect::<Result<Vec<_>, _>>().unwrap();
        let runs = [(); 3].map(|()| scope.spawn(run));
        runs.map(|run| run.join().unwrap())
    });
    for completions in results {
        assert_eq!(completions.len(), 40);
        for (index, completion) in completions.iter().enumerate() {
            let expected = alone(&request(&"ab".repeat(1 + index % 9), 7 + index as u64, 9));
            assert_eq!(completion.tokens, expected.tokens);
        }
    }
}

#[test]
fn after_its_end_an_engine_says_so_to_everybody() {
    let engine = engine_of(always('a'));
    let running = engine.submit(request("abc", 1, 20)).unwrap();
    engine.shut_down(Duration::MAX).unwrap();
    assert_eq!(running.wait().unwrap()[0].tokens.len(), 20, "there was time enough");
    for _ in 0..300 {
        assert!(matches!(engine.submit(request("abc", 1, 2)), Err(Error::ShutDown)));
    }
    let (sender, called) = mpsc::channel();
    let refused = engine.submit_with(request("abc", 1, 2), move |_| sender.send(()).unwrap());
    assert!(matches!(refused, Err(Error::ShutDown)));
    assert!(called.recv().is_err(), "who is refused is not called back");
    assert!(matches!(engine.trim_memory(0), Err(Error::ShutDown)));
}

#[test]
fn a_callback_cannot_wait_for_its_own_engine_and_may_be_its_last_owner() {
    let engine = engine_of(hashed);
    let (sender, told) = mpsc::channel();
    let own = engine.clone();
    engine
        .submit_with(request("abc", 1, 2), move |result| {
            let is_refused = matches!(own.shut_down(Duration::ZERO), Err(Error::EngineThread));
            drop(own.shut_down_async(Duration::ZERO));
            sender.send((result.is_ok(), is_refused)).unwrap();
        })
        .unwrap();
    drop(engine);
    assert_eq!(told.recv_timeout(Duration::from_secs(60)).unwrap(), (true, true));
}

/// What a sink is told of requests.
#[derive(Debug, Default)]
struct Requests(std::sync::Mutex<Vec<RequestMetrics>>);

impl MetricsSink for Requests {
    fn step(&self, _step: &StepMetrics) {}

    fn request(&self, request: &RequestMetrics) {
        self.0.lock().unwrap().push(*request);
    }
}

#[test]
fn a_sink_is_told_of_candidates_and_of_requests_that_cannot_be_served() {
    let requests = Arc::new(Requests::default());
    let engine = |sink: Arc<dyn MetricsSink>, config: EngineConfig| {
        Engine::builder().config(config).metrics(sink).start(fake_model(SIZE, hashed).0, None).unwrap()
    };
    let several = engine(Arc::clone(&requests) as Arc<dyn MetricsSink>, config());
    let served = several.submit(Request { n: 3, ..request("abc", 1, 4) }).unwrap();
    let served_id = served.id();
    served.wait().unwrap();
    several.submit(request(&"x".repeat(200), 1, 4)).unwrap_err();
    // Whether a session's prompt fits, only the engine knows.
    let long = request(&"x".repeat(40), 1, 4).session(SessionId::new_id(), SessionMode::Append);
    several.submit(long.clone()).unwrap().wait().unwrap();
    let refused = several.submit(long).unwrap();
    let refused_id = refused.id();
    refused.wait().unwrap_err();
    several.shut_down(Duration::from_secs(10)).unwrap();
    let told = requests.0.lock().unwrap();
    let [first, _, second] = &told[..] else { panic!("{told:?}") };
    assert_eq!([first.id, second.id], [served_id, refused_id]);
    assert_eq!((first.usage.strategy(), first.usage.choices), (GenerationStrategy::Parallel, 3));
    assert_eq!((second.finish_reason, second.queue, second.usage.choices), (None, None, 0));
    let recent = Arc::new(RecentMetrics::default());
    let mut aware = config();
    aware.batching.strategy = crate::BatchingStrategy::MemoryAware;
    aware.batching.memory_limit_bytes = Some(8 * 20);
    let refusing = engine(Arc::clone(&recent) as Arc<dyn MetricsSink>, aware);
    refusing.submit(request("abcdefghij", 1, 20)).unwrap().wait().unwrap_err();
    refusing.shut_down(Duration::from_secs(10)).unwrap();
    assert_eq!((recent.summary().requests, recent.summary().failed), (1, 1));
}

#[test]
fn a_lost_device_ends_the_engine_with_one_error_for_all() {
    let model = losing(fake_model(SIZE, hashed).0, token_of('!'));
    // The first step has four of the requests, one of them the culprit.
    let mut full = config();
    full.batching.max_batch_wait_us = u64::MAX;
    let (engine, diary) = diarist(model, full);
    let handles: Vec<_> = ["bcd", "b!", "cde", "def", "efg", "fgh"]
        .iter()
        .map(|prompt| engine.submit(request(prompt, 1, 60)).unwrap())
        .collect();
    let is_lost = |error: &Error| {
        matches!(error, Error::Exec(ExecError::DeviceLost { .. })) && error.kind() == ErrorKind::Device
    };
    for handle in handles {
        let error = handle.wait().unwrap_err();
        assert!(is_lost(&error), "{error}");
    }
    // The engine may still be on its way out, but answers the same.
    let later = engine.submit(request("abc", 1, 4)).and_then(RequestHandle::wait).unwrap_err();
    assert!(is_lost(&later), "{later}");
    let trimmed = engine.trim_memory(0).unwrap_err();
    assert!(is_lost(&trimmed), "{trimmed}");
    assert_eq!(diary.lock().unwrap().steps.len(), 1, "no step is tried again");
    assert_eq!((engine.stats().live_requests, engine.stats().cache.current_leases), (0, 0));
    engine.shut_down(Duration::ZERO).unwrap();
}
