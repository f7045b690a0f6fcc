//! Deadlines on a slow model, by a clock that its steps move: a request ends with the step in which its deadline falls, and
//! has what it got until then.

use sm_tensor::TokenId;

use super::{SIZE, alone, config, request};
use crate::clock::{Clock, ManualClock};
use crate::testing::{FakeSize, fake_model, hashed};
use crate::{Engine, Error, FinishReason, Request};

const STEP_MS: u64 = 20;
const LIMIT_MS: u64 = 390;
const N_LONG: usize = 1000;
/// The prompt is one step, and each further one gives a token; the last begins before the deadline and ends after it.
const N_TOKENS: usize = (LIMIT_MS / STEP_MS) as usize + 1;

/// One slot, and steps that take their time.
fn slow() -> (Engine, ManualClock) {
    let clock = ManualClock::new();
    let steps = clock.clone();
    let predict = move |history: &[TokenId]| {
        steps.advance_ms(STEP_MS);
        hashed(history)
    };
    let mut config = config();
    config.batching.max_batch_size = 1;
    let model = fake_model(FakeSize { context_len: 2 * N_LONG, ..SIZE }, predict).0;
    let builder = Engine::builder().config(config).clock(Clock::Manual(clock.clone()));
    (builder.start(model, None).unwrap(), clock)
}

fn late(prompt: &str) -> Request {
    let mut late = request(prompt, 1, N_LONG);
    late.options.limits.max_time_ms = Some(LIMIT_MS);
    late
}

/// These are what the answer to `abc` begins with, up to the deadline.
fn assert_begins_the_answer(tokens: &[TokenId]) {
    assert_eq!(tokens, &alone(&request("abc", 1, N_TOKENS)).tokens[..]);
}

#[test]
fn a_deadline_in_the_middle_of_an_answer_gives_what_there_is() {
    let (engine, clock) = slow();
    let Err(Error::Timeout { limit_ms: LIMIT_MS, partial }) = engine.submit(late("abc")).unwrap().wait()
    else {
        panic!("a long answer takes longer");
    };
    assert_eq!(clock.elapsed_ms(), N_TOKENS as u64 * STEP_MS, "no step begins after the deadline");
    assert_begins_the_answer(&partial.tokens);
    assert_eq!(partial.finish_reason, FinishReason::Timeout);
}

#[test]
fn a_deadline_in_the_queue_is_kept_although_nothing_was_computed() {
    let (engine, clock) = slow();
    let busy = engine.submit(request("abc", 1, N_LONG)).unwrap();
    let waits = engine.submit(late("bcd")).unwrap();
    let Err(Error::Timeout { limit_ms: LIMIT_MS, partial }) = waits.wait() else {
        panic!("the slot is taken for longer");
    };
    assert!(clock.elapsed_ms() >= LIMIT_MS, "{clock:?}");
    assert!(partial.tokens.is_empty() && partial.text.is_empty(), "{partial:?}");
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.batching.timed_out), (1, 0, 1));
    drop(busy);
}

#[test]
fn a_deadline_passes_while_nothing_runs() {
    let clock = ManualClock::new();
    let mut config = config();
    config.batching.max_batch_wait_us = 1_000_000;
    let builder = Engine::builder().config(config).clock(Clock::Manual(clock.clone()));
    let engine = builder.start(fake_model(SIZE, hashed).0, None).unwrap();
    let waits = engine.submit(late("abc")).unwrap();
    clock.advance_ms(LIMIT_MS);
    assert!(matches!(waits.wait(), Err(Error::Timeout { .. })));
    let lone = engine.submit(request("abc", 1, 4)).unwrap();
    clock.advance_ms(1000);
    assert_eq!(lone.wait().unwrap()[0].tokens, alone(&request("abc", 1, 4)).tokens);
    assert_eq!(engine.stats().batching.steps, 4, "nothing was computed for the one that timed out");
}

#[test]
fn a_stream_past_its_deadline_ends_behind_what_it_told() {
    let (engine, _) = slow();
    let mut stream = engine.stream(late("abc")).unwrap();
    let (mut told, mut last) = (Vec::new(), None);
    while let Some(event) = stream.next_blocking() {
        let event = event.unwrap();
        told.extend(event.token);
        last = Some(event);
    }
    let last = last.unwrap();
    assert_eq!((last.token, last.finish_reason), (None, Some(FinishReason::Timeout)));
    assert_begins_the_answer(&told);
    let completions = stream.finish().unwrap();
    assert_eq!((&completions[0].tokens, completions[0].finish_reason), (&told, FinishReason::Timeout));
}
