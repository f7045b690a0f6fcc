//! Conversations.

use super::{SIZE, alone, config, engine_of, seeded, text, transcript};
use crate::testing::{FakeSize, fake_model, hashed};
use crate::{Engine, EngineConfig, Error, LimitedResource, Prompt, Request};

#[test]
fn the_second_turn_computes_only_what_is_new() {
    let engine = engine_of(hashed);
    let session = engine.session("talk").unwrap();
    let first = session.generate("hello there", &seeded(1, 10)).unwrap();
    let rows = engine.stats().batching.rows;
    let second = session.generate(" and again", &seeded(2, 10)).unwrap();
    let context = [&first.prompt_tokens[..], &first.tokens, &second.prompt_tokens[21..]].concat();
    assert_eq!(second.prompt_tokens, context);
    let expected = alone(&Request::new(Prompt::Tokens(context), seeded(2, 10)));
    assert_eq!(second.tokens, expected.tokens);
    // The last token of the first turn was never computed, and the last of the second is not either.
    assert_eq!(engine.stats().batching.rows - rows, 1 + " and again".len() as u64 + 9);
    assert_eq!(second.usage.cached_tokens, 20);
}

#[test]
fn a_transcript_is_recognised_as_far_as_it_is_the_same() {
    let engine = engine_of(hashed);
    let session = engine.session(transcript("talk")).unwrap();
    let first = session.generate("hello there", &seeded(1, 10)).unwrap();
    let transcript = format!("hello there{}. what!", first.text);
    let second = session.generate(&transcript, &seeded(2, 10)).unwrap();
    assert_eq!(second.usage.cached_tokens, 20);
    assert_eq!(second.tokens, alone(&Request::new(text(&transcript), seeded(2, 10))).tokens);
}

#[test]
fn a_failed_call_leaves_a_session_as_it_was() {
    let engine = engine_of(hashed);
    let session = engine.session("talk").unwrap();
    let first = session.generate("hello", &seeded(1, 10)).unwrap();
    let too_long = "x".repeat(60);
    assert!(matches!(session.generate(&too_long, &seeded(1, 10)), Err(Error::ResourceLimit { .. })));
    let second = session.generate("!", &seeded(2, 4)).unwrap();
    assert_eq!(second.prompt_tokens.len(), first.prompt_tokens.len() + first.tokens.len() + 1);
    session.forget().unwrap();
    session.forget().unwrap();
    let third = session.generate("hello", &seeded(1, 10)).unwrap();
    assert_eq!((third.tokens, third.prompt_tokens), (first.tokens, first.prompt_tokens));
}

#[test]
fn a_full_context_is_told_as_one() {
    let size = FakeSize { n_sequences: 1, ..SIZE };
    let engine = Engine::start(fake_model(size, hashed).0, config()).unwrap();
    let rest = "x".repeat(60);
    for session in [engine.session("append").unwrap(), engine.session(transcript("prefix")).unwrap()] {
        session.generate("hello", &seeded(1, 10)).unwrap();
        let transcript = format!("hello{rest}{rest}");
        match session.generate(&transcript, &seeded(1, 10)) {
            Err(Error::ResourceLimit { resource: LimitedResource::Context, limit: 64, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_session_takes_one_call_at_a_time() {
    let engine = engine_of(hashed);
    let session = engine.session("talk").unwrap();
    let mut stream = session.stream(Prompt::Append("hello".into()), seeded(1, 50)).unwrap();
    stream.next_blocking().unwrap().unwrap();
    // Whether the first call is over by now or not, the second one gets an answer that says so.
    match session.generate("more", &seeded(1, 2)) {
        Ok(completion) => assert!(completion.prompt_tokens.len() > 50),
        Err(error) => assert!(error.to_string().contains("talk"), "{error}"),
    }
    drop(stream);
}

#[test]
fn a_conversation_that_was_forgotten_is_not_continued_as_if_it_were_new() {
    let cache = config().cache.max_sessions(1);
    let engine = Engine::start(fake_model(SIZE, hashed).0, EngineConfig { cache, ..config() }).unwrap();
    let (first, second) = (engine.session("a").unwrap(), engine.session("b").unwrap());
    first.generate("hello", &seeded(1, 4)).unwrap();
    second.generate("hello", &seeded(1, 4)).unwrap();
    let error = first.clone().generate(" again", &seeded(1, 4)).unwrap_err().to_string();
    assert_eq!(error, "there is no session a; it was never started, or was evicted or dropped");
    first.forget().unwrap();
    let anew = first.generate("hello", &seeded(1, 4)).unwrap();
    assert_eq!(anew.prompt_tokens.len(), 5);
}
