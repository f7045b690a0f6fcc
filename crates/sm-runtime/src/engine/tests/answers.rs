//! Failing, late, cancelled and dropped requests: each is answered, and none leaves anything behind.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sm_batching::Wanted;

use super::{SIZE, alone, always, block_on, config, engine_of, request, text};
use crate::testing::{FakeSize, failing, fake_model, hashed, token_of, two_in_flight, watched};
use crate::{
    Engine, Error, FinishReason, GenerationOptions, LimitedResource, LoadedModel, MirostatOptions,
    QueueLimit, Request, RequestStatus, SamplingOptions, StopRules,
};

/// Writes forever: no end token, and a context that is long enough for the test.
const LONG: FakeSize = FakeSize { context_len: 1 << 16, max_tokens: 24, n_sequences: 4 };

fn endless() -> Engine {
    Engine::start(fake_model(LONG, always('a')).0, config()).unwrap()
}

fn assert_clean(engine: &Engine) {
    let stats = engine.stats();
    assert_eq!((stats.live_requests, stats.running, stats.waiting), (0, 0, 0));
    assert_eq!((stats.cache.current_leases, stats.cache.pinned_pages, stats.cache.busy_sessions), (0, 0, 0));
}

#[test]
fn a_callback_is_called_once_whatever_happens() {
    let engine = endless();
    let (sender, results) = std::sync::mpsc::channel();
    let submit = |request: Request, name: &'static str| {
        let sender = sender.clone();
        engine.submit_with(request, move |result| sender.send((name, result.is_ok())).unwrap()).unwrap()
    };
    let first = submit(request("abc", 1, 10), "whole");
    let second = submit(request("abc", 2, 60_000), "cancelled");
    assert!(engine.cancel(second));
    engine.submit_with(request("abc", 3, 5), |_| panic!("a caller's own")).unwrap();
    let mut told: Vec<_> = (0..2).map(|_| results.recv().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, [("cancelled", false), ("whole", true)]);
    assert_eq!(engine.status(first), Some(RequestStatus::Completed));
    assert_eq!(engine.status(second), Some(RequestStatus::Cancelled));
    submit(request("abc", 4, 60_000), "ended by the shutdown");
    engine.shut_down(Duration::ZERO).unwrap();
    assert_eq!(results.recv().unwrap(), ("ended by the shutdown", false));
    assert!(results.try_recv().is_err());
}

#[test]
fn a_cancelled_request_ends_and_its_neighbour_goes_on() {
    let engine = endless();
    let neighbour = engine.submit(request("bc", 1, 2000)).unwrap();
    let victim = engine.submit(request("de", 2, 60_000)).unwrap();
    victim.cancel();
    assert!(matches!(victim.wait(), Err(Error::Cancelled)));
    assert_eq!(neighbour.wait().unwrap()[0].tokens.len(), 2000);
    assert_clean(&engine);
}

#[test]
fn a_dropped_stream_ends_its_request() {
    let engine = endless();
    let mut stream = engine.stream(request("bc", 1, 60_000)).unwrap();
    assert!(stream.next_blocking().unwrap().unwrap().token.is_some());
    assert_eq!(stream.status(), RequestStatus::Running);
    drop(stream);
    drop(engine.submit(request("bc", 1, 60_000)).unwrap());
    // The next request is served when both have left.
    engine.generate(text("x"), &super::seeded(1, 3)).unwrap();
    while engine.stats().live_requests > 0 {
        std::thread::yield_now();
    }
    assert_clean(&engine);
}

#[test]
fn a_cancelled_stream_keeps_what_it_told() {
    let engine = endless();
    let mut stream = engine.stream(request("bc", 1, 60_000)).unwrap();
    for _ in 0..5 {
        stream.next_blocking().unwrap().unwrap();
    }
    stream.cancel();
    let mut last = None;
    while let Some(event) = stream.next_blocking() {
        last = Some(event.unwrap());
    }
    assert_eq!(last.unwrap().finish_reason, Some(FinishReason::Cancelled));
    let completions = stream.finish().unwrap();
    assert!(completions[0].tokens.len() >= 5);
    assert_eq!(completions[0].finish_reason, FinishReason::Cancelled);
}

#[test]
fn a_stream_can_be_ended_by_another_thread_than_the_one_that_reads_it() {
    let engine = endless();
    let mut stream = engine.stream(request("bc", 1, 60_000)).unwrap();
    stream.next_blocking().unwrap().unwrap();
    let cancel = stream.cancel_token();
    let elsewhere = std::thread::spawn(move || cancel.cancel());
    let mut last = None;
    while let Some(event) = stream.next_blocking() {
        last = Some(event.unwrap());
    }
    elsewhere.join().unwrap();
    assert_eq!(last.unwrap().finish_reason, Some(FinishReason::Cancelled));
    assert_clean(&engine);
}

#[test]
fn the_time_of_the_prompt_is_that_of_its_steps() {
    let spent = Arc::new(Mutex::new(Duration::ZERO));
    let spends = Arc::clone(&spent);
    let engine = engine_of(move |history| {
        let began = Instant::now();
        let logits = (0..2000).map(|_| hashed(history)).reduce(|_, last| last).unwrap();
        *spends.lock().unwrap() += began.elapsed();
        logits
    });
    let timings = engine.submit(request("abc", 1, 1)).unwrap().wait().unwrap()[0].timings;
    assert!(timings.prefill >= *spent.lock().unwrap(), "{timings:?}, {spent:?}");
    assert!(timings.first_token >= timings.prefill && timings.total >= timings.first_token, "{timings:?}");
}

#[test]
fn a_late_request_has_what_it_got_until_then() {
    let engine = endless();
    let mut late = request("bc", 1, 60_000);
    late.options.limits.max_time_ms = Some(20);
    match engine.submit(late.clone()).unwrap().wait() {
        Err(Error::Timeout { limit_ms: 20, partial }) => assert!(!partial.tokens.is_empty()),
        other => panic!("{other:?}"),
    }
    let mut stream = engine.stream(late).unwrap();
    let mut last = None;
    while let Some(event) = stream.next_blocking() {
        last = Some(event.unwrap());
    }
    assert_eq!(last.unwrap().finish_reason, Some(FinishReason::Timeout));
    assert_clean(&engine);
}

/// Checks what the steps of requests to an engine want, and that the answers are those of all logits.
fn wants(as_on: impl FnOnce(LoadedModel) -> LoadedModel) -> impl Fn(Wanted, fn(&mut GenerationOptions)) {
    let wanted = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&wanted);
    let model = watched(fake_model(SIZE, hashed).0, move |batch| {
        seen.lock().unwrap().extend(batch.outputs.iter().map(|output| output.wanted));
        true
    });
    let engine = Engine::start(as_on(model), config()).unwrap();
    move |expected, change| {
        let mut request = request("abcde", 1, 12);
        request.options.sampling.temperature = 0.0;
        change(&mut request.options);
        let completion = engine.submit(request.clone()).unwrap().wait().unwrap().swap_remove(0);
        assert_eq!(completion.tokens, alone(&request).tokens, "{:?}", request.options);
        let wanted = std::mem::take(&mut *wanted.lock().unwrap());
        assert!(!wanted.is_empty() && wanted.iter().all(|wanted| *wanted == expected), "{wanted:?}");
    }
}

#[test]
fn only_the_arg_max_is_read_where_it_is_all_that_counts() {
    let ask = wants(|model| model);
    ask(Wanted::ArgMax, |_| ());
    ask(Wanted::ArgMax, |options| options.sampling.top_p = 0.5);
    ask(Wanted::Logits, |options| options.sampling.temperature = 1.0);
    ask(Wanted::Logits, |options| options.sampling.repetition_penalty = 1.5);
    ask(Wanted::Logits, |options| options.sampling.logit_bias = vec![(token_of('a'), 9.0)]);
    ask(Wanted::Logits, |options| options.logprobs = Some(2));
    ask(Wanted::Logits, |options| options.stop.min_new_tokens = 3);
}

#[test]
fn of_a_device_only_the_tokens_that_are_sampled_from_are_read() {
    let ask = wants(|model| two_in_flight(model).0);
    ask(Wanted::ArgMax, |_| ());
    ask(Wanted::TopK(5), |options| {
        options.sampling = SamplingOptions { top_k: 5, seed: Some(1), ..SamplingOptions::default() }
    });
    ask(Wanted::TopK(40), |options| options.sampling.temperature = 2.0);
    ask(Wanted::TopK(3), |options| {
        options.sampling =
            SamplingOptions { top_k: 3, top_p: 0.5, min_p: 0.2, seed: Some(7), ..SamplingOptions::default() };
    });
    let all: [fn(&mut GenerationOptions); 5] = [
        |options| (options.sampling.temperature, options.sampling.top_k) = (1.0, 0),
        |options| (options.sampling.temperature, options.sampling.top_k) = (1.0, 65),
        |options| options.sampling.frequency_penalty = 0.5,
        |options| {
            (options.sampling.temperature, options.sampling.mirostat) = (1.0, Some(MirostatOptions::new()));
        },
        |options| options.logprobs = Some(0),
    ];
    for change in all {
        ask(Wanted::Logits, change);
    }
}

#[test]
fn an_arg_max_that_is_no_number_fails_its_request() {
    for value in [f32::NAN, f32::INFINITY] {
        let engine = engine_of(move |history| {
            let mut logits = hashed(history);
            logits[3] = if history.len() == 5 { value } else { logits[3] };
            logits
        });
        let mut greedy = request("abc", 1, 20);
        greedy.options.sampling.temperature = 0.0;
        let error = engine.submit(greedy).unwrap().wait().unwrap_err();
        assert!(matches!(error, Error::InvalidLogits { token: 3, position: 5, .. }), "{error}");
        assert_clean(&engine);
    }
}

#[test]
fn logits_that_are_no_numbers_fail_one_request() {
    let bad = token_of('z');
    let engine = engine_of(move |history| {
        let mut logits = hashed(history);
        if history.contains(&bad) && history[0] == bad {
            logits[3] = f32::NAN;
        }
        logits
    });
    let good = engine.submit(request("abc", 1, 20)).unwrap();
    let culprit = engine.submit(request("zabc", 2, 20)).unwrap();
    assert!(matches!(culprit.wait(), Err(Error::InvalidLogits { .. })));
    assert_eq!(good.wait().unwrap()[0].tokens, super::alone(&request("abc", 1, 20)).tokens);
    assert_clean(&engine);
}

#[test]
fn a_step_that_fails_fails_its_culprit_alone() {
    let model = failing(fake_model(SIZE, hashed).0, token_of('z'));
    let engine = Engine::start(model, config()).unwrap();
    let requests = ["abc", "zbc", "bcd", "azb"].map(|prompt| request(prompt, 7, 15));
    let handles: Vec<_> = requests.iter().map(|r| engine.submit(r.clone()).unwrap()).collect();
    for (request, handle) in requests.iter().zip(handles) {
        let crate::Prompt::Text(prompt) = &request.prompt else { panic!("text") };
        let expected = super::alone(request);
        // Whoever writes a z by itself is a culprit too, one step later.
        let is_culprit = prompt.contains('z') || expected.tokens[..14].contains(&token_of('z'));
        match handle.wait() {
            Err(Error::Exec(_)) => assert!(is_culprit, "{prompt}"),
            Ok(completions) => {
                assert!(!is_culprit, "{prompt}");
                assert_eq!(completions[0].tokens, expected.tokens);
            }
            Err(error) => panic!("{prompt}: {error}"),
        }
    }
    assert_clean(&engine);
}

#[test]
fn a_full_queue_refuses_at_once() {
    let mut config = config();
    config.batching.max_queued_requests = 2;
    config.batching.max_batch_size = 1;
    let engine = Engine::start(fake_model(LONG, always('a')).0, config).unwrap();
    let mut accepted = Vec::new();
    let refused = loop {
        match engine.submit(request("b", 1, 60_000)) {
            Ok(handle) => accepted.push(handle),
            Err(error) => break error,
        }
        assert!(accepted.len() <= 4, "nothing was refused");
    };
    assert!(
        matches!(
            refused,
            Error::ResourceLimit { resource: LimitedResource::Queue(QueueLimit::Requests), limit: 2, .. }
        ),
        "{refused}"
    );
    drop(accepted);
}

#[test]
fn shutting_down_answers_everybody() {
    let engine = endless();
    let short = engine.submit(request("b", 1, 50)).unwrap();
    let long = engine.submit(request("c", 2, 60_000)).unwrap();
    engine.shut_down(Duration::from_millis(200)).unwrap();
    assert_eq!(short.wait().unwrap()[0].tokens.len(), 50);
    assert!(matches!(long.wait(), Err(Error::ShutDown)));
    assert!(matches!(engine.submit(request("d", 3, 5)), Err(Error::ShutDown)));
    assert!(matches!(engine.trim_memory(0), Err(Error::ShutDown)));
    engine.shut_down(Duration::ZERO).unwrap();
}

#[test]
fn handles_outlive_the_engine() {
    let engine = endless();
    let handle = engine.submit(request("b", 1, 60_000)).unwrap();
    drop(engine);
    assert!(matches!(handle.wait(), Err(Error::ShutDown)));
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let engine = engine_of(hashed);
    let long = "a".repeat(64);
    assert!(matches!(
        engine.submit(request(&long, 1, 5)),
        Err(Error::ResourceLimit { resource: LimitedResource::Context, limit: 64, actual: 65 })
    ));
    let refused = engine.submit(Request { n: usize::MAX, ..request("a", 1, 5) });
    assert!(matches!(
        refused,
        Err(Error::ResourceLimit { resource: LimitedResource::Queue(QueueLimit::Choices), limit: 4, .. })
    ));
    assert_eq!(engine.stats().batching.steps, 0);
}

#[test]
fn futures_are_woken() {
    let engine = engine_of(hashed);
    let mut request = request("abc", 1, 30);
    request.options.stop = StopRules::default();
    let expected = super::alone(&request);
    let completions = block_on(engine.submit(request.clone()).unwrap()).unwrap();
    assert_eq!(completions[0].tokens, expected.tokens);
    let mut stream = engine.stream(request).unwrap();
    let told = block_on(async {
        let mut told = String::new();
        while let Some(event) = stream.next().await {
            told.push_str(&event.unwrap().text);
        }
        told
    });
    assert_eq!(told, expected.text);
}
