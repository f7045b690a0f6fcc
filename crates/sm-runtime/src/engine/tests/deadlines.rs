//! Deadlines on a slow model: a request ends soon after its own, and has what it got until then.

use std::time::{Duration, Instant};

use sm_tensor::TokenId;

use super::{SIZE, alone, config, request};
use crate::testing::{FakeSize, fake_model, hashed};
use crate::{Engine, Error, FinishReason, Request};

const STEP: Duration = Duration::from_millis(20);
const LIMIT_MS: u64 = 400;
/// What a step or, if that is less, 50 ms after the deadline may become on a busy machine; much less than a long answer takes.
const LATEST: Duration = Duration::from_secs(10);
const N_LONG: usize = 1000;
/// Steps that can begin before the deadline, and one more for the first moment of the request.
const MOST_STEPS: usize = LIMIT_MS as usize / STEP.as_millis() as usize + 1;

/// One slot, and steps that take their time.
fn slow() -> Engine {
    let predict = |history: &[TokenId]| {
        std::thread::sleep(STEP);
        hashed(history)
    };
    let mut config = config();
    config.batching.max_batch_size = 1;
    Engine::start(fake_model(FakeSize { context_len: 2 * N_LONG, ..SIZE }, predict).0, config).unwrap()
}

fn late(prompt: &str) -> Request {
    let mut late = request(prompt, 1, N_LONG);
    late.options.limits.max_time_ms = Some(LIMIT_MS);
    late
}

fn assert_in_time(since: Instant) {
    let elapsed = since.elapsed();
    assert!(elapsed >= Duration::from_millis(LIMIT_MS) && elapsed < LATEST, "{elapsed:?}");
}

/// These are what the answer to `abc` begins with, and no step began after the deadline.
fn assert_begins_the_answer(tokens: &[TokenId]) {
    assert!((1..=MOST_STEPS).contains(&tokens.len()), "{tokens:?}");
    assert_eq!(tokens, &alone(&request("abc", 1, MOST_STEPS)).tokens[..tokens.len()]);
}

#[test]
fn a_deadline_in_the_middle_of_an_answer_gives_what_there_is() {
    let (engine, since) = (slow(), Instant::now());
    let Err(Error::Timeout { limit_ms: LIMIT_MS, partial }) = engine.submit(late("abc")).unwrap().wait()
    else {
        panic!("a long answer takes longer");
    };
    assert_in_time(since);
    assert_begins_the_answer(&partial.tokens);
    assert_eq!(partial.finish_reason, FinishReason::Timeout);
}

#[test]
fn a_deadline_in_the_queue_is_kept_although_nothing_was_computed() {
    let engine = slow();
    let busy = engine.submit(request("abc", 1, N_LONG)).unwrap();
    let since = Instant::now();
    let waits = engine.submit(late("bcd")).unwrap();
    let Err(Error::Timeout { limit_ms: LIMIT_MS, partial }) = waits.wait() else {
        panic!("the slot is taken for longer");
    };
    assert_in_time(since);
    assert!(partial.tokens.is_empty() && partial.text.is_empty(), "{partial:?}");
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.batching.timed_out), (1, 0, 1));
    drop(busy);
}

#[test]
fn a_stream_past_its_deadline_ends_behind_what_it_told() {
    let (engine, since) = (slow(), Instant::now());
    let mut stream = engine.stream(late("abc")).unwrap();
    let (mut told, mut last) = (Vec::new(), None);
    while let Some(event) = stream.next_blocking() {
        let event = event.unwrap();
        told.extend(event.token);
        last = Some(event);
    }
    assert_in_time(since);
    let last = last.unwrap();
    assert_eq!((last.token, last.finish_reason), (None, Some(FinishReason::Timeout)));
    assert_begins_the_answer(&told);
    let completions = stream.finish().unwrap();
    assert_eq!((&completions[0].tokens, completions[0].finish_reason), (&told, FinishReason::Timeout));
}
