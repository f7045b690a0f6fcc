//! Streams: each token is told before the next is computed, and a slot is held for as long as somebody reads.

use super::watching::gated;
use super::{SIZE, alone, config, engine_of, request, seeded};
use crate::testing::{fake_model, hashed};
use crate::{Engine, Error, Prompt, Request, RequestStatus, TokenLogprob};

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
    let stats = engine.stats();
    assert_eq!((stats.available_slots(), stats.live_requests, stats.batching.cancelled), (Some(1), 0, 1));
    // At most one step ran while the stream was dropped.
    assert!(stats.batching.generated_tokens <= 20 + 1 + 3, "{stats:?}");
}

#[test]
fn events_carry_the_log_probabilities_that_were_asked_for() {
    let engine = engine_of(hashed);
    for n_top in [0, 3] {
        let mut request = Request { n: 3, ..request("abc", 3, 8) };
        request.options.logprobs = Some(n_top);
        let mut told: [Vec<TokenLogprob>; 3] = Default::default();
        let mut stream = engine.stream(request).unwrap();
        while let Some(event) = stream.next_blocking() {
            let event = event.unwrap();
            let logprob = event.logprob.unwrap();
            told[event.choice].push(TokenLogprob { logprob, top: event.top_logprobs });
        }
        let completions = stream.finish().unwrap();
        for (told, completion) in told.iter().zip(&completions) {
            assert_eq!(told, &completion.logprobs);
            assert!(told.len() == 8 && told.iter().all(|token| token.top.len() == n_top));
        }
    }
    let mut stream = engine.stream(request("abc", 3, 8)).unwrap();
    while let Some(event) = stream.next_blocking() {
        let event = event.unwrap();
        assert_eq!((event.logprob, event.top_logprobs.len()), (None, 0));
    }
}

/// A model whose logits are unusable after this many tokens.
fn broken_behind(n_tokens: usize) -> Engine {
    engine_of(move |history| {
        let mut logits = hashed(history);
        if history.len() == n_tokens {
            logits[0] = f32::NAN;
        }
        logits
    })
}

#[test]
fn a_stream_that_fails_leaves_in_its_session_what_it_delivered() {
    let engine = broken_behind(10);
    let session = engine.session("talk").unwrap();
    let mut stream = session.stream(Prompt::Append("hello".into()), seeded(1, 20)).unwrap();
    let mut delivered = Vec::new();
    let error = loop {
        match stream.next_blocking().expect("an error before the end") {
            Ok(event) => {
                assert_eq!(event.finish_reason, None, "the error is the end");
                delivered.extend(event.token);
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::InvalidLogits { position: 10, .. }), "{error}");
    assert_eq!(delivered, alone(&request("hello", 1, 5)).tokens);
    let next = session.generate("!", &seeded(2, 3)).unwrap();
    assert_eq!((next.prompt_tokens.len(), &next.prompt_tokens[5..10]), (11, &delivered[..]));
}

#[test]
fn a_stream_that_fails_before_its_first_token_leaves_its_session_as_it_was() {
    let engine = broken_behind(5);
    let session = engine.session("talk").unwrap();
    let mut stream = session.stream(Prompt::Append("hello".into()), seeded(1, 20)).unwrap();
    assert!(matches!(stream.next_blocking(), Some(Err(Error::InvalidLogits { .. }))));
    assert!(stream.next_blocking().is_none());
    assert_eq!(session.generate("hi", &seeded(2, 2)).unwrap().prompt_tokens.len(), 2);
}

#[test]
fn a_stream_tells_how_far_its_prompt_is_if_it_is_asked() {
    let mut config = config();
    config.batching.max_step_tokens = 8;
    let engine = Engine::start(fake_model(SIZE, hashed).0, config).unwrap();
    let prompt = "once upon a time there was";
    let told = |request: Request| {
        let mut stream = engine.stream(request).unwrap();
        let (mut told, mut tokens) = (Vec::new(), Vec::new());
        while let Some(event) = stream.next_blocking() {
            let event = event.unwrap();
            match event.prefill {
                Some(prefill) => {
                    assert!(tokens.is_empty() && event.token.is_none() && event.text.is_empty());
                    assert_eq!(prefill.prompt_tokens, prompt.len());
                    told.push((prefill.cached_tokens, prefill.computed_tokens));
                }
                None => tokens.extend(event.token),
            }
        }
        assert_eq!(tokens, alone(&request_of(prompt)).tokens);
        told
    };
    assert_eq!(told(request_of(prompt)), []);
    engine.trim_memory(0).unwrap();
    let first = told(request_of(prompt).report_prefill());
    assert_eq!(first, [(0, 0), (0, 8), (0, 16), (0, 24), (0, 26)]);
    let second = told(request_of(prompt).report_prefill());
    let n_cached = second[0].0;
    assert!(n_cached >= 16 && second[0].1 == n_cached && second.last().unwrap().1 == 26, "{second:?}");
    let whole = engine.submit(request_of(prompt).report_prefill()).unwrap().wait().unwrap();
    assert_eq!(whole[0].tokens, alone(&request_of(prompt)).tokens);
}

fn request_of(prompt: &str) -> Request {
    request(prompt, 3, 5)
}
