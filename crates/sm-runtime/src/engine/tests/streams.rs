//! Streams: each token is told before the next is computed, and a slot is held for as long as somebody reads.

use super::watching::gated;
use super::{SIZE, alone, config, engine_of, request};
use crate::testing::{fake_model, hashed};
use crate::{Engine, RequestStatus};

#[test]
fn each_token_is_told_before_the_step_of_the_next_begins() {
    let (predict, permits) = gated(hashed);
    let engine = engine_of(predict);
    let mut stream = engine.stream(request("abc", 3, 8)).unwrap();
    let mut tokens = Vec::new();
    for _ in 0..8 {
        permits.send(()).unwrap();
        tokens.extend(stream.next_blocking().unwrap().unwrap().token);
    }
    assert!(stream.next_blocking().is_none());
    assert_eq!(tokens, alone(&request("abc", 3, 8)).tokens);
}

#[test]
fn a_stream_holds_its_slot_until_it_is_dropped() {
    let (predict, permits) = gated(hashed);
    let mut config = config();
    config.batching.max_batch_size = 1;
    let engine = Engine::start(fake_model(SIZE, predict).0, config).unwrap();
    let mut stream = engine.stream(request("abc", 1, 60)).unwrap();
    let next = engine.submit(request("x", 1, 3)).unwrap();
    for _ in 0..20 {
        permits.send(()).unwrap();
        stream.next_blocking().unwrap().unwrap();
    }
    assert_eq!((stream.status(), next.status()), (RequestStatus::Running, RequestStatus::Queued));
    drop(stream);
    drop(permits);
    assert_eq!(next.wait().unwrap()[0].tokens, alone(&request("x", 1, 3)).tokens);
    let stats = engine.stats().unwrap();
    assert_eq!((stats.available_slots(), stats.live_requests, stats.batching.cancelled), (Some(1), 0, 1));
    // At most one step ran while the stream was dropped.
    assert!(stats.batching.generated_tokens <= 20 + 1 + 3, "{stats:?}");
}
