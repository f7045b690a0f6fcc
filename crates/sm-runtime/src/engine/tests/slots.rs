//! Slots: never more in use than there are, given in order, and given back however a request ends.

use std::sync::{Arc, Barrier};

use sm_batching::Priority;

use super::watching::{diarist, gated};
use super::{Panicking, SIZE, alone, always, config, request, seeded, text};
use crate::testing::{FakeSize, failing, fake_model, hashed, token_of};
use crate::{Engine, EngineConfig, Error, Request, RequestHandle};

fn with_slots(n_slots: usize) -> EngineConfig {
    let mut config = config();
    config.batching.max_batch_size = n_slots;
    config
}

#[test]
fn fifty_submitters_have_three_slots_among_them() {
    let (predict, permits) = gated(hashed);
    let (engine, diary) = diarist(fake_model(SIZE, predict).0, with_slots(3));
    let all_are_sent = Barrier::new(51);
    std::thread::scope(|scope| {
        for seed in 0..50 {
            let (engine, all_are_sent) = (&engine, &all_are_sent);
            scope.spawn(move || {
                let request = request("all at once", seed, 5 + seed as usize % 7);
                let handle = engine.submit(request.clone()).unwrap();
                all_are_sent.wait();
                assert_eq!(handle.wait().unwrap()[0].tokens, alone(&request).tokens);
            });
        }
        all_are_sent.wait();
        drop(permits);
    });
    assert_eq!(diary.lock().unwrap().most_sequences(), 3);
    assert_eq!(engine.stats().available_slots(), Some(3));
}

#[test]
fn sixty_four_threads_at_once_get_what_they_would_get_alone() {
    let engine = Engine::start(fake_model(SIZE, hashed).0, config()).unwrap();
    let start = Barrier::new(64);
    std::thread::scope(|scope| {
        for seed in 0..64 {
            let (engine, start) = (engine.clone(), &start);
            scope.spawn(move || {
                let request = request(["abc", "once upon a time", "x"][seed as usize % 3], seed, 12);
                start.wait();
                let completions = engine.submit(request.clone()).unwrap().wait().unwrap();
                assert_eq!(completions[0].tokens, alone(&request).tokens);
            });
        }
    });
    assert_eq!(engine.stats().batching.finished, 64);
}

#[test]
fn five_requests_on_three_slots_begin_in_the_order_of_their_submission() {
    let (predict, permits) = gated(hashed);
    let (engine, diary) = diarist(fake_model(SIZE, predict).0, with_slots(3));
    let requests: Vec<Request> =
        ["e", "d", "c", "b", "a"].iter().zip(3..).map(|(prompt, n)| request(prompt, 1, n)).collect();
    let handles: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    drop(permits);
    for (request, handle) in requests.iter().zip(handles) {
        assert_eq!(handle.wait().unwrap()[0].tokens, alone(request).tokens);
    }
    let diary = diary.lock().unwrap();
    diary.assert_began("edcba");
    assert_eq!(diary.most_sequences(), 3);
}

#[test]
fn a_full_queue_is_served_by_priority_and_then_by_arrival() {
    use Priority::{Critical, High, Low, Normal};
    let (predict, permits) = gated(hashed);
    let mut config = with_slots(1);
    config.batching.max_queued_requests = 8;
    config.batching.priority_boost_after_us = u64::MAX;
    let (engine, diary) = diarist(fake_model(SIZE, predict).0, config);
    let mut first = engine.stream(request("x", 1, 3)).unwrap();
    permits.send(()).unwrap();
    first.next_blocking().unwrap().unwrap();
    let priorities = [Normal, Low, Critical, High, Normal, Critical, Low, High];
    let submit = |(letter, priority)| engine.submit(Request { priority, ..request(letter, 1, 2) }).unwrap();
    let handles: Vec<RequestHandle> =
        ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().zip(priorities).map(submit).collect();
    drop(permits);
    handles.into_iter().for_each(|handle| assert_eq!(handle.wait().unwrap()[0].tokens.len(), 2));
    diary.lock().unwrap().assert_began("xcfdhaebg");
    drop(first);
}

/// One way for a request to end.
type Way = (&'static str, fn(&Engine) -> Result<Vec<crate::Completion>, Error>);

/// A context that is too long to be filled.
const LONG: FakeSize = FakeSize { context_len: 1 << 16, max_tokens: 24, n_sequences: 4 };

/// Writes `a` forever; a row of `q` fails its step, and behind `z` there are no numbers.
fn troubled() -> Engine {
    let (writes, bad) = (always('a'), token_of('z'));
    let (model, _) = fake_model(LONG, move |history| {
        let mut logits = writes(history);
        logits[3] = if history[0] == bad { f32::NAN } else { logits[3] };
        logits
    });
    Engine::start(failing(model, token_of('q')), with_slots(1)).unwrap()
}

const WAYS: [Way; 8] = [
    ("by itself", |engine| engine.submit(request("b", 1, 5))?.wait()),
    ("by a step that panics", |engine| engine.submit(request("q", 1, 5))?.wait()),
    ("by logits that are no numbers", |engine| engine.submit(request("z", 1, 5))?.wait()),
    ("by a filter that panics", |engine| {
        engine.submit(Request { filters: vec![Arc::new(Panicking)], ..request("b", 1, 5) })?.wait()
    }),
    ("by its deadline", |engine| {
        let mut late = request("b", 1, 60_000);
        late.options.limits.max_time_ms = Some(5);
        engine.submit(late)?.wait()
    }),
    ("by its caller", |engine| {
        let handle = engine.submit(request("b", 1, 60_000))?;
        handle.cancel();
        handle.wait()
    }),
    ("by the drop of its handle", |engine| {
        drop(engine.submit(request("b", 1, 60_000))?);
        Err(Error::Cancelled)
    }),
    ("by the drop of its stream", |engine| {
        engine.stream(request("b", 1, 60_000))?.next_blocking().unwrap()?;
        Err(Error::Cancelled)
    }),
];

#[test]
fn a_slot_comes_back_however_its_request_ends() {
    let engine = troubled();
    for (way, end) in WAYS.iter().chain(&WAYS) {
        assert_eq!(end(&engine).is_ok(), *way == "by itself", "{way}");
        // There is one slot, so this would wait forever for one that is lost.
        assert_eq!(engine.generate(text("b"), &seeded(1, 3)).unwrap().tokens.len(), 3, "{way}");
        let stats = engine.stats();
        assert_eq!((stats.running, stats.waiting, stats.available_slots()), (0, 0, Some(1)), "{way}");
        assert_eq!((stats.live_requests, stats.cache.current_leases), (0, 0), "{way}");
    }
}
