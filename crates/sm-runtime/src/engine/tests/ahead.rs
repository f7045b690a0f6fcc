//! Two steps in flight.

use std::sync::atomic::Ordering;

use super::{SIZE, alone, config, request};
use crate::testing::{fake_model, hashed, scripted, token_of, two_in_flight};
use crate::{Engine, EngineConfig, Request, SpeculationConfig};

fn greedy(prompt: &str, max_new_tokens: usize) -> Request {
    let mut request = request(prompt, 0, max_new_tokens);
    request.options.sampling.temperature = 0.0;
    request
}

#[test]
fn a_lone_greedy_sequence_runs_ahead_within_its_pages() {
    let (model, steps) = fake_model(SIZE, hashed);
    let (model, n_ahead) = two_in_flight(model);
    let engine = Engine::start(model, config()).unwrap();
    let request = greedy("abcde", 40);
    let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
    assert_eq!(completion.tokens, alone(&request).tokens);
    // None for nothing, and all but the first and those that begin a page: at positions 16 and 32.
    assert_eq!(steps.lock().unwrap().len(), 40);
    assert_eq!(n_ahead.load(Ordering::Relaxed), 40 - 1 - 2);
}

#[test]
fn what_a_sequence_that_ends_has_run_ahead_is_dropped() {
    let (model, steps) = fake_model(SIZE, scripted("abcdefgh"));
    let engine = Engine::start(two_in_flight(model).0, config()).unwrap();
    for prompt in ["a", "ab", "abc", "abcd"] {
        let mut request = greedy(prompt, 20);
        request.options.stop.token_ids = vec![token_of('g')];
        let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
        let expected = &"abcdef"[prompt.len()..];
        assert_eq!(completion.text, expected);
        // Another sequence goes on at the same position with another token.
        let other = format!("{prompt}{expected}b");
        let other = engine.generate(greedy(&other, 3).prompt, &greedy(&other, 3).options).unwrap();
        assert_eq!(other.text, "hab");
    }
    let n_generated = (5 + 4 + 3 + 2) + 4 + 4 * 3;
    let n_dropped = steps.lock().unwrap().len() - n_generated;
    assert!((1..=4).contains(&n_dropped), "{n_dropped}");
}

#[test]
fn requests_with_drafts_choices_or_samples_do_not_run_ahead() {
    let lookup = EngineConfig {
        speculation: SpeculationConfig { lookup: true, ..SpeculationConfig::default() },
        ..config()
    };
    let run = |config: EngineConfig, requests: &[Request]| {
        let (model, n_ahead) = two_in_flight(fake_model(SIZE, hashed).0);
        let engine = Engine::start(model, config).unwrap();
        let handles: Vec<_> =
            requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
        handles.into_iter().for_each(|handle| drop(handle.wait().unwrap()));
        n_ahead.load(Ordering::Relaxed)
    };
    assert_eq!(run(lookup.clone(), &[greedy("abc", 9)]), 0);
    assert_eq!(run(lookup, &[greedy("abc", 9).without_speculation()]), 8);
    assert_eq!(run(config(), &[request("abc", 1, 9)]), 0);
    assert_eq!(run(config(), &[Request { n: 2, ..greedy("abc", 9) }]), 0);
    assert_eq!(run(config(), &[greedy("abc", 1)]), 0);
}
