//! Conversations.

use super::watching::gated;
use super::{SIZE, alone, config, engine_of, seeded, text, transcript};
use crate::testing::{FakeSize, fake_model, hashed};
use crate::{Engine, EngineConfig, Error, FinishReason, LimitedResource, Prompt, Request};

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
    let (predict, permits) = gated(hashed);
    let engine = Engine::start(fake_model(SIZE, predict).0, config()).unwrap();
    let session = engine.session("talk").unwrap();
    let first = session.stream(Prompt::Append("hello".into()), seeded(1, 10)).unwrap();
    let second = session.submit(Prompt::Append("more".into()), seeded(1, 2)).unwrap();
    let other = engine.session("other").unwrap();
    let third = other.submit(Prompt::Append("more".into()), seeded(1, 2)).unwrap();
    drop(permits);
    let error = second.wait().unwrap_err().to_string();
    assert!(error.contains("talk"), "{error}");
    third.wait().unwrap();
    let mut first = first;
    while first.next_blocking().is_some() {}
    let said = first.finish().unwrap().remove(0);
    let next = session.generate("more", &seeded(1, 2)).unwrap();
    assert_eq!(next.prompt_tokens.len(), said.prompt_tokens.len() + said.tokens.len() + 4);
}

#[test]
fn a_transcript_that_differs_is_computed_from_the_difference_on() {
    let engine = engine_of(hashed);
    let session = engine.session(transcript("talk")).unwrap();
    let said = session.generate("hello there", &seeded(1, 20)).unwrap();
    let mut last = said.prompt_tokens.len() + said.tokens.len();
    // Within the answer, within the prompt, and at the first token.
    for n_common in [17, 6, 0] {
        let mut transcript: String = format!("hello there{}", said.text).chars().take(n_common).collect();
        transcript += "!!! and so on";
        let again = session.generate(&transcript, &seeded(2, 6)).unwrap();
        assert!(n_common < last && again.usage.cached_tokens == n_common, "{n_common}: {:?}", again.usage);
        assert_eq!(again.tokens, alone(&Request::new(text(&transcript), seeded(2, 6))).tokens);
        last = n_common;
    }
}

#[test]
fn a_stop_string_that_was_cut_off_is_no_part_of_the_conversation() {
    let engine = engine_of(hashed);
    let plain = engine.generate(text("hello"), &seeded(1, 12)).unwrap();
    let mut stopped = seeded(1, 12);
    stopped.stop.sequences = vec![plain.text[6..9].to_owned()];
    let session = engine.session("talk").unwrap();
    let first = session.generate("hello", &stopped).unwrap();
    assert_eq!((first.finish_reason, &first.text[..]), (FinishReason::StopSequence, &plain.text[..6]));
    let second = session.generate(" again", &seeded(2, 6)).unwrap();
    let context = format!("hello{} again", first.text);
    assert_eq!(second.prompt_tokens.len(), context.chars().count());
    assert_eq!(second.tokens, alone(&Request::new(text(&context), seeded(2, 6))).tokens);
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
