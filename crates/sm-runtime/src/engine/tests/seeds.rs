//! Seeds: those of a batch count up, and those that nobody gave are given back.

use std::collections::BTreeSet;

use super::{alone, engine_of, request, seeded, text};
use crate::Request;
use crate::testing::hashed;

#[test]
fn the_seeds_of_a_batch_go_on_at_zero_behind_the_last() {
    let engine = engine_of(hashed);
    let prompts = ["abc", "abc", "x", "abc"];
    let results = engine.generate_batch(prompts.map(text), &seeded(u64::MAX - 1, 9));
    let completions: Vec<_> = results.map(Result::unwrap).collect();
    let seeds = [u64::MAX - 1, u64::MAX, 0, 1];
    assert_eq!(completions.iter().map(|completion| completion.seed).collect::<Vec<_>>(), seeds);
    for ((prompt, seed), completion) in prompts.into_iter().zip(seeds).zip(completions) {
        assert_eq!(completion.tokens, alone(&request(prompt, seed, 9)).tokens, "{seed}");
    }
}

#[test]
fn requests_without_a_seed_get_one_each_that_repeats_their_text() {
    let engine = engine_of(hashed);
    let mut options = seeded(0, 12);
    options.sampling.seed = None;
    let batch = engine.generate_batch((0..6).map(|_| text("abc")), &options).map(Result::unwrap);
    let handles = [(); 6].map(|()| engine.submit(Request::new(text("abc"), options.clone())).unwrap());
    let mut completions: Vec<_> = batch.collect();
    completions.extend(handles.into_iter().map(|handle| handle.wait().unwrap().swap_remove(0)));
    let seeds: BTreeSet<u64> = completions.iter().map(|completion| completion.seed).collect();
    assert_eq!(seeds.len(), 12, "{seeds:?}");
    for completion in completions {
        let again = engine.generate(text("abc"), &seeded(completion.seed, 12)).unwrap();
        assert_eq!((again.text, again.tokens), (completion.text, completion.tokens));
    }
}
