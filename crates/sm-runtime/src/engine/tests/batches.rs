//! Steps: how many sequences they have, how many there are, and prompts of all lengths in one of them.

use super::watching::{Diary, diarist};
use super::{SIZE, config, request};
use crate::testing::{FakeSize, fake_model, hashed};
use crate::{Engine, EngineConfig, Generator, Request, RequestHandle};

const WIDE: FakeSize = FakeSize { context_len: 1024, max_tokens: 600, n_sequences: 4 };

fn submit_all(engine: &Engine, requests: &[Request]) -> Vec<RequestHandle> {
    requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect()
}

/// Prompts of these lengths, of which no two begin alike.
fn prompts_of(lens: &[usize]) -> Vec<Request> {
    let prompt = |(index, len): (usize, &usize)| {
        let letters = (0..*len).map(|at| char::from(b'a' + ((at * (index + 3) + index) % 26) as u8));
        request(&letters.collect::<String>(), index as u64, 20)
    };
    lens.iter().enumerate().map(prompt).collect()
}

#[test]
fn a_step_is_one_call_of_the_model_with_no_more_sequences_than_a_batch_may_have() {
    for max_batch_size in 1..=4 {
        let mut config = config();
        config.batching.max_batch_size = max_batch_size;
        let (engine, diary) = diarist(fake_model(SIZE, hashed).0, config);
        let requests: Vec<Request> = (0..12)
            .map(|seed| Request { n: 1 + seed % max_batch_size, ..request("some prompt", seed as u64, 9) })
            .collect();
        submit_all(&engine, &requests).into_iter().for_each(|handle| _ = handle.wait().unwrap());
        let (stats, diary) = (engine.stats().batching, diary.lock().unwrap());
        let Diary { steps, .. } = &*diary;
        assert_eq!(diary.most_sequences(), max_batch_size);
        assert_eq!(stats.steps, steps.len() as u64);
        assert_eq!(stats.spans, steps.iter().map(Vec::len).sum::<usize>() as u64);
        assert_eq!(stats.rows, steps.iter().flatten().sum::<usize>() as u64);
    }
}

#[test]
fn prompts_of_3_70_and_500_tokens_in_one_batch_get_what_they_would_get_alone() {
    let requests = prompts_of(&[3, 70, 500]);
    // Whole prompts, or the long ones in chunks beside the others.
    for max_step_tokens in [600, 64] {
        let mut config = config();
        let three = config.batching.max_batch_size(3).max_batch_wait_us(u64::MAX);
        config.batching = three.max_step_tokens(max_step_tokens);
        let (engine, diary) = diarist(fake_model(WIDE, hashed).0, config);
        for (request, handle) in requests.iter().zip(submit_all(&engine, &requests)) {
            let mut generator =
                Generator::new(fake_model(FakeSize { n_sequences: 1, ..WIDE }, hashed).0).unwrap();
            let expected = generator.generate(&request.prompt, &request.options).unwrap();
            assert_eq!(handle.wait().unwrap()[0].tokens, expected.tokens, "steps of {max_step_tokens}");
        }
        let diary = diary.lock().unwrap();
        // The batch begins when it is full, so it has all three from its first step on.
        let first = if max_step_tokens == 600 { vec![3, 70, 500] } else { vec![3, 61] };
        assert_eq!((&diary.steps[0], diary.most_sequences()), (&first, 3));
    }
}

#[test]
fn without_batches_or_cache_everybody_gets_the_same() {
    let requests: Vec<Request> =
        (0..9).map(|seed| request("once upon a time there was an", seed, 15)).collect();
    let run = |change: fn(&mut EngineConfig)| {
        let mut config = config();
        change(&mut config);
        let (engine, diary) = diarist(fake_model(SIZE, hashed).0, config);
        let handles = submit_all(&engine, &requests);
        let completions = handles.into_iter().flat_map(|handle| handle.wait().unwrap());
        let tokens: Vec<_> = completions.map(|completion| completion.tokens).collect();
        let most_sequences = diary.lock().unwrap().most_sequences();
        (tokens, most_sequences, engine.stats().cache)
    };
    let (expected, most_sequences, cache) = run(|_| ());
    assert!(most_sequences > 1 && cache.reused_tokens > 0 && cache.current_bytes > 0, "{cache:?}");
    let (tokens, most_sequences, _) = run(|config| config.batching.enabled = false);
    assert_eq!((&tokens, most_sequences), (&expected, 1));
    let (tokens, _, cache) = run(|config| config.cache.enabled = false);
    assert_eq!((&tokens, cache.reused_tokens, cache.hits, cache.current_bytes), (&expected, 0, 0, 0));
}
