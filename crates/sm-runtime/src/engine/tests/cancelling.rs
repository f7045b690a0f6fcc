//! Cancelled requests, in the queue and in a batch: others do not notice.

use std::sync::mpsc;
use std::time::Duration;

use super::watching::{diarist, gated};
use super::{SIZE, alone, config, engine_of, request};
use crate::testing::{fake_model, hashed};
use crate::{CancelToken, Engine, Error, FinishReason, Request};

#[test]
fn a_request_that_waits_behind_a_slow_one_is_cancelled_without_a_step() {
    let (predict, permits) = gated(hashed);
    let mut config = config();
    config.batching.max_batch_size = 1;
    let (engine, diary) = diarist(fake_model(SIZE, predict).0, config);
    let [slow, victim, next] = ["abc", "x", "bcd"].map(|prompt| request(prompt, 1, 10));
    let slow_handle = engine.submit(slow.clone()).unwrap();
    let [victim, next_handle] = [victim, next.clone()].map(|request| engine.submit(request).unwrap());
    permits.send(()).unwrap();
    victim.cancel();
    drop(permits);
    assert!(matches!(victim.wait(), Err(Error::Cancelled)));
    assert_eq!(slow_handle.wait().unwrap()[0].tokens, alone(&slow).tokens);
    assert_eq!(next_handle.wait().unwrap()[0].tokens, alone(&next).tokens);
    diary.lock().unwrap().assert_began("ab");
}

#[test]
fn a_request_that_is_cancelled_at_any_token_leaves_its_neighbours_alone() {
    let neighbours = ["hello there", "abc"].map(|prompt| request(prompt, 7, 20));
    let victim = request("hello you", 7, 50);
    let expected = neighbours.each_ref().map(alone);
    let whole = alone(&victim).tokens;
    for n_told in 0..12 {
        let (predict, permits) = gated(hashed);
        let engine = engine_of(predict);
        let mut stream = engine.stream(victim.clone()).unwrap();
        let handles = neighbours.each_ref().map(|request| engine.submit(Request::clone(request)).unwrap());
        let mut told = Vec::new();
        for _ in 0..n_told {
            // Enough for a step of all three.
            (0..3).for_each(|_| permits.send(()).unwrap());
            told.extend(stream.next_blocking().unwrap().unwrap().token);
        }
        stream.cancel();
        drop(permits);
        for (handle, expected) in handles.into_iter().zip(&expected) {
            assert_eq!(handle.wait().unwrap()[0].tokens, expected.tokens, "cancelled after {n_told}");
        }
        let mut reason = None;
        while let Some(event) = stream.next_blocking() {
            let event = event.unwrap();
            told.extend(event.token);
            reason = event.finish_reason;
        }
        assert_eq!(reason, Some(FinishReason::Cancelled));
        assert_eq!(told, whole[..told.len()]);
    }
}

/// An engine that waits for company as long as it takes, and an answer that is awaited for a minute.
fn cancelled_while_held(cancel: impl FnOnce(&Engine, Request, mpsc::Sender<Result<(), Error>>)) -> Error {
    let mut config = config();
    config.batching.max_batch_wait_us = u64::MAX;
    let engine = Engine::start(fake_model(SIZE, hashed).0, config).unwrap();
    let (sender, answers) = mpsc::channel();
    cancel(&engine, request("abc", 1, 5), sender);
    let answer = answers.recv_timeout(Duration::from_secs(60)).expect("an engine that sleeps is woken");
    assert_eq!(engine.stats().batching.steps, 0, "it was not woken by a step");
    answer.unwrap_err()
}

#[test]
fn a_cancel_token_wakes_an_engine_that_holds_its_request_back() {
    let error = cancelled_while_held(|engine, request, answer| {
        let all = CancelToken::new();
        let request = Request { cancel: Some(all.child()), ..request };
        engine.submit_with(request, move |result| _ = answer.send(result.map(drop))).unwrap();
        // When this returns, the engine has the request and is about to sleep.
        engine.set_context_len(SIZE.context_len).unwrap();
        all.cancel();
    });
    assert!(matches!(error, Error::Cancelled), "{error}");
}

#[test]
fn a_streams_token_wakes_an_engine_that_holds_its_request_back() {
    let error = cancelled_while_held(|engine, request, answer| {
        let mut stream = engine.stream(request).unwrap();
        let cancel = stream.cancel_token();
        std::thread::spawn(move || {
            let event = stream.next_blocking().unwrap().unwrap();
            assert_eq!((event.token, event.finish_reason), (None, Some(FinishReason::Cancelled)));
            answer.send(Err(Error::Cancelled)).unwrap();
        });
        engine.set_context_len(SIZE.context_len).unwrap();
        cancel.cancel();
    });
    assert!(matches!(error, Error::Cancelled), "{error}");
}
