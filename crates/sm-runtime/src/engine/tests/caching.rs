//! What an engine remembers of requests that are over, and what that saves.

use sm_cache::{KvCacheConfig, SessionId, SessionMode};

use super::{SIZE, alone, config, request, seeded, text, transcript};
use crate::testing::{FakeSize, fake_model, hashed};
use crate::{Completion, Engine, Error, Request, Session};

fn engine_with(change: impl FnOnce(&mut KvCacheConfig)) -> Engine {
    let mut config = config();
    change(&mut config.cache);
    Engine::start(fake_model(SIZE, hashed).0, config).unwrap()
}

/// A turn that resends all that was said; gives what was said with it.
fn say(session: &Session, transcript: &str, seed: u64) -> (Completion, String) {
    let completion = session.generate(transcript, &seeded(seed, 6)).unwrap();
    assert_eq!(completion.tokens, alone(&Request::new(text(transcript), seeded(seed, 6))).tokens);
    let said = format!("{transcript}{}", completion.text);
    (completion, said)
}

#[test]
fn the_least_recently_used_of_too_many_sessions_is_computed_again() {
    // Without shared prefixes only a session itself can save work.
    let engine = engine_with(|cache| (cache.max_sessions, cache.prefix_sharing) = (2, false));
    let [a, b, c] = ["a", "b", "c"].map(|name| engine.session(transcript(name)).unwrap());
    let (_, said_a) = say(&a, "hello there", 1);
    let (_, said_b) = say(&b, "good day", 2);
    let (second, said_a) = say(&a, &format!("{said_a} go on"), 3);
    assert_eq!(second.usage.cached_tokens, "hello there".len() + 5);
    say(&c, "what is it", 4);
    let cache = engine.stats().cache;
    assert_eq!((cache.current_sessions, cache.evictions), (2, 1));
    let (third, _) = say(&a, &format!("{said_a} go on"), 5);
    assert!(third.usage.cached_tokens > 0, "it was used later than the other");
    let (again, _) = say(&b, &format!("{said_b} go on"), 6);
    assert_eq!(again.usage.cached_tokens, 0, "it had to give way");
    let cache = engine.stats().cache;
    assert_eq!((cache.current_sessions, cache.evictions), (2, 2));
}

#[test]
fn nothing_stays_where_nothing_is_to_persist() {
    let engine = engine_with(|cache| cache.persist_across_requests = false);
    let session = engine.session(transcript("talk")).unwrap();
    let mut transcript = "once upon a time there".to_owned();
    for seed in 0..3 {
        let (completion, said) = say(&session, &transcript, seed);
        transcript = format!("{said} and");
        assert_eq!(completion.usage.cached_tokens, 0);
        let request = request("once upon a time there", seed, 10);
        let completions = engine.submit(request.clone()).unwrap().wait().unwrap();
        assert_eq!(completions[0].tokens, alone(&request).tokens);
        let cache = engine.stats().cache;
        assert_eq!((cache.current_bytes, cache.current_sessions, cache.reused_tokens), (0, 0, 0));
        assert!(cache.peak_bytes > 0);
    }
    let error = engine.session("other").unwrap_err();
    assert!(matches!(error, Error::Validation { field: "session", .. }), "{error}");
    let id = SessionId::new("other").unwrap();
    let error = engine.submit(request("abc", 1, 4).session(id, SessionMode::Append)).unwrap_err();
    assert!(error.to_string().contains("persist_across_requests"), "{error}");
}

#[test]
fn a_disabled_cache_goes_on_with_a_conversation_and_holds_nothing_of_it() {
    let said = |enabled| {
        let engine = engine_with(|cache| cache.enabled = enabled);
        let session = engine.session("talk").unwrap();
        let turns = ["hello there", " and again", "!"].map(|text| {
            let completion = session.generate(text, &seeded(3, 8)).unwrap();
            let bytes = engine.stats().cache.current_bytes;
            assert_eq!(bytes > 0, enabled);
            (completion.prompt_tokens, completion.tokens)
        });
        (turns, engine.stats().cache.reused_tokens > 0)
    };
    let (turns, _) = said(true);
    assert_eq!(said(false), (turns.clone(), false));
    assert_eq!(said(true), (turns, true));
}

#[test]
fn the_work_of_a_second_turn_does_not_depend_on_the_length_of_the_first() {
    let size = FakeSize { context_len: 1024, ..SIZE };
    for n_letters in [10, 100, 900] {
        let engine = Engine::start(fake_model(size, hashed).0, config()).unwrap();
        let session = engine.session("talk").unwrap();
        let first = session.generate(&"x".repeat(n_letters), &seeded(1, 10)).unwrap();
        let before = engine.stats().batching;
        let second = session.generate(" and again", &seeded(2, 10)).unwrap();
        let after = engine.stats().batching;
        // The last token of the first turn was sampled and not computed; the last of the second neither.
        assert_eq!(after.rows - before.rows, 1 + " and again".len() as u64 + 9, "{n_letters} letters");
        assert_eq!(after.steps - before.steps, 10, "{n_letters} letters");
        assert_eq!(second.usage.cached_tokens, n_letters + first.tokens.len() - 1);
    }
}
