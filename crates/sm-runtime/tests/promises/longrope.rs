//! `LongRoPE`: the length that a request may reach chooses its frequencies, whatever the context and whatever else runs.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use sm_runtime::{
    BatchingConfig, DType, Engine, EngineConfig, ExecutorOptions, GenerationOptions, KvDType, LoadOptions,
    Prompt, Request, SessionOptions, TokenId,
};

use crate::{Setup, exact, generator, one_thread};

/// Of the tiny model: contexts of up to 128 positions, trained on 32.
const ORIGINAL: usize = 32;

fn model() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../sm-model/tests/data/arch/phi3-longrope"))
}

#[derive(Deserialize)]
struct Expected {
    prompts: Vec<ExpectedPrompt>,
}

#[derive(Deserialize)]
struct ExpectedPrompt {
    input_ids: Vec<u32>,
    logits: String,
}

fn prompts() -> Vec<(Vec<TokenId>, Vec<f32>)> {
    let expected: Expected =
        serde_json::from_slice(&fs::read(model().join("expected.json")).unwrap()).unwrap();
    let read = |prompt: ExpectedPrompt| {
        let bytes = fs::read(model().join(prompt.logits)).unwrap();
        let logits = bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        (prompt.input_ids.into_iter().map(TokenId).collect(), logits)
    };
    expected.prompts.into_iter().map(read).collect()
}

#[test]
fn logits_match_transformers_for_short_and_long_texts_in_every_context() {
    let prompts = prompts();
    assert!(prompts[0].0.len() <= ORIGINAL && prompts[1].0.len() > ORIGINAL);
    for context_len in [100, 128] {
        for chunk in [7, 128] {
            // The file has bfloat16 weights, for which the CPU rounds activations; the reference does not.
            let load = one_thread().context_len(context_len).quant(DType::F32);
            let mut generator = generator(&model(), &Setup { load, ..exact(chunk) });
            for (tokens, expected) in [&prompts[0], &prompts[1], &prompts[0]] {
                let mut worst = 0.0f32;
                let rows: Vec<&[f32]> = expected.chunks_exact(56).collect();
                generator
                    .forward(tokens, &mut |position, logits| {
                        let errors = logits.iter().zip(rows[position]).map(|(a, b)| (a - b).abs());
                        worst = errors.fold(worst, f32::max);
                    })
                    .unwrap();
                assert!(
                    worst < 1e-4,
                    "context {context_len}, chunks of {chunk}, {} tokens: {worst}",
                    tokens.len()
                );
            }
        }
    }
}

fn options(max_new_tokens: usize) -> GenerationOptions {
    GenerationOptions::greedy().max_new_tokens(max_new_tokens)
}

#[test]
fn requests_that_stay_short_and_that_may_become_long_do_not_share_keys() {
    let long = prompts().swap_remove(1).0;
    // All begin with the same two pages.
    let prompt = |n_tokens: usize| Prompt::Tokens(long[..n_tokens].to_vec());
    // The last token is sampled, and not computed: 20 + 13 - 1 positions are within the original context.
    let requests = [(20, 13), (20, 14), (20, 60), (18, 6), (50, 20), (31, 2), (32, 1), (32, 2)];
    let executor = ExecutorOptions::new().kv_dtype(KvDType::F32);
    let alone = |(n_tokens, max_new_tokens): (usize, usize)| {
        let mut fresh = generator(&model(), &Setup { load: one_thread(), executor: executor.clone() });
        fresh.generate(&prompt(n_tokens), &options(max_new_tokens).logprobs(1)).unwrap()
    };
    let expected: Vec<_> = requests.into_iter().map(alone).collect();
    assert_ne!(expected[0].logprobs[0], expected[1].logprobs[0], "one token more, other frequencies");
    assert_eq!(expected[1].logprobs[0], expected[2].logprobs[0]);
    for (batch_size, step_tokens) in [(1, 64), (4, 9), (8, 64)] {
        let batching = BatchingConfig::new()
            .max_batch_size(batch_size)
            .max_step_tokens(step_tokens)
            .max_batch_wait_us(0);
        let config = EngineConfig::new().load(one_thread()).executor(executor.clone()).batching(batching);
        let engine = Engine::builder().config(config).load(model().as_path()).unwrap();
        let submit = |(n_tokens, max_new_tokens): (usize, usize)| {
            engine.submit(Request::new(prompt(n_tokens), options(max_new_tokens).logprobs(1))).unwrap()
        };
        for round in 0..2 {
            let handles: Vec<_> = requests.into_iter().map(submit).collect();
            for ((handle, expected), request) in handles.into_iter().zip(&expected).zip(requests) {
                let found = handle.wait().unwrap().swap_remove(0);
                assert_eq!(found.tokens, expected.tokens, "{request:?} {batch_size} {round}");
                assert_eq!(found.logprobs, expected.logprobs, "{request:?} {batch_size} {round}");
            }
        }
    }
}

#[test]
fn a_session_counts_as_long_as_its_context() {
    let tokens = prompts().swap_remove(1).0;
    let engine = |context_len: usize| {
        let config = EngineConfig::new().load(LoadOptions::new().context_len(context_len));
        Engine::builder().config(config).load(model().as_path()).unwrap()
    };
    let first = |in_session: bool, context_len: usize, max_new_tokens: usize| {
        let engine = engine(context_len);
        let prompt = Prompt::Tokens(tokens[..20].to_vec());
        let options = options(max_new_tokens).logprobs(1);
        let session = engine.session(SessionOptions::private()).unwrap();
        let handle = match in_session {
            true => session.submit(prompt, options).unwrap(),
            false => engine.submit(Request::new(prompt, options)).unwrap(),
        };
        handle.wait().unwrap().swap_remove(0)
    };
    assert_eq!(first(true, ORIGINAL, 4).logprobs, first(false, 128, 4).logprobs, "short frequencies");
    assert_eq!(first(true, 128, 4).logprobs[0], first(false, 128, 60).logprobs[0], "long frequencies");
    assert_ne!(first(true, 128, 4).logprobs[0], first(false, 128, 4).logprobs[0]);
}
