//! Several continuations of one prompt: which is the best, and with guesses of their tokens.

use std::collections::BTreeSet;

use super::{SIZE, config, drafted, request};
use crate::testing::{FakeSize, fake_model, hashed, mostly_recent, recent, token_of};
use crate::{Completion, Engine, Request, Select, SpeculationConfig};

fn mean_logprob(completion: &Completion) -> f64 {
    let sum: f64 = completion.logprobs.iter().map(|token| f64::from(token.logprob)).sum();
    sum / completion.logprobs.len() as f64
}

#[test]
fn the_best_candidate_has_the_highest_mean_log_probability() {
    let engine = super::engine_of(hashed);
    let mut winners = BTreeSet::new();
    for seed in 0..12 {
        let mut all = Request { n: 4, ..request("abc", seed, 16) };
        all.options.logprobs = Some(0);
        // Of different lengths, so that a mean is something else than a sum.
        all.options.stop.token_ids = vec![token_of('e'), token_of('.')];
        let best = Request { select: Select::Best, ..all.clone() };
        let all = engine.submit(all).unwrap().wait().unwrap();
        let mut stream = engine.stream(best).unwrap();
        let mut streamed = vec![Vec::new(); 4];
        while let Some(event) = stream.next_blocking() {
            let event = event.unwrap();
            streamed[event.choice].push(event.text);
        }
        let [best] = &stream.finish().unwrap()[..] else { panic!("one completion") };
        assert_eq!(streamed[best.choice].concat(), best.text, "its events say the choice that it is");
        let scored = all.iter().enumerate().filter(|(_, completion)| !completion.logprobs.is_empty());
        let (index, expected) =
            scored.max_by(|a, b| mean_logprob(a.1).total_cmp(&mean_logprob(b.1))).unwrap();
        assert_eq!((&best.tokens, &best.logprobs), (&expected.tokens, &expected.logprobs), "{seed}");
        assert_eq!(best.choice, index);
        winners.insert(index);
    }
    assert!(winners.len() > 1, "always {winners:?}");
}

#[test]
fn guesses_for_eight_candidates_change_nothing() {
    let size = FakeSize { context_len: 80, max_tokens: 64, n_sequences: 8 };
    let model = || fake_model(size, mostly_recent).0;
    let mut config = config();
    config.batching.max_step_tokens = size.max_tokens;
    let plain = Engine::start(model(), config.clone()).unwrap();
    config.speculation = SpeculationConfig { lookup: true, max_draft_len: 6 };
    let guessing = drafted(model(), fake_model(size, recent).0, config).unwrap();
    let eight = |engine: &Engine, seed| {
        let request = Request { n: 8, ..request("a b c a b c a b", seed, 40) };
        let completions = engine.submit(request).unwrap().wait().unwrap();
        completions.into_iter().map(|completion| completion.tokens).collect::<Vec<_>>()
    };
    for seed in 0..4 {
        let expected = eight(&plain, seed);
        assert_eq!(expected.len(), 8);
        assert_eq!(eight(&guessing, seed), expected, "{seed}");
        assert_eq!(eight(&guessing, seed), expected, "{seed} again");
    }
    let stats = guessing.stats();
    assert!(stats.speculation.accepted > 0 && stats.speculation.accepted < stats.speculation.drafted);
    assert_eq!(plain.stats().speculation.drafted, 0);
}

#[test]
fn several_choices_have_a_call_of_their_own() {
    let engine = Engine::start(fake_model(SIZE, hashed).0, config()).unwrap();
    let request = Request { n: 3, ..request("abc", 5, 6) };
    let expected = engine.submit(request.clone()).unwrap().wait().unwrap();
    let choices = engine.generate_choices(request.prompt.clone(), 3, Select::All, &request.options).unwrap();
    let tokens = |completions: &[Completion]| -> Vec<_> {
        completions.iter().map(|completion| completion.tokens.clone()).collect()
    };
    assert_eq!(tokens(&choices), tokens(&expected));
    let best = engine.generate_choices(request.prompt, 3, Select::Best, &request.options).unwrap();
    assert!(best.len() == 1 && tokens(&expected).contains(&best[0].tokens));
}
