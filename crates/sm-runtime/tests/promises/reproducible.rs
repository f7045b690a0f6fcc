//! The same tokens and the same bits, however the work is cut.

use sm_runtime::{
    Device, ExecutorOptions, GenerationOptions, LoadOptions, Prompt, SamplingOptions, Threads, TokenId,
};

use crate::{Setup, data, generator};

fn sampled(seed: u64) -> GenerationOptions {
    let sampling = SamplingOptions::new()
        .seed(seed)
        .temperature(1.1)
        .top_k(100)
        .top_p(0.98)
        .repetition_penalty(1.1)
        .frequency_penalty(0.1);
    GenerationOptions::new().sampling(sampling).logprobs(3)
}

const PROMPT: &str =
    "Once upon a time, there was a big dog named Max. One day Max saw a small cat in the garden";

#[test]
fn threads_and_chunks_change_nothing() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let run = |n_threads, max_step_tokens, seed| {
        let load = LoadOptions::new().device(Device::Cpu { isa: None, threads: Threads::Exactly(n_threads) });
        let setup = Setup { load, executor: ExecutorOptions::new().max_step_tokens(max_step_tokens) };
        let completion =
            generator(&path, &setup).generate(&Prompt::Text(PROMPT.into()), &sampled(seed)).unwrap();
        assert_eq!(completion.seed, seed);
        (completion.tokens, completion.logprobs)
    };
    for seed in [0, 7] {
        let reference = run(1, 512, seed);
        for (n_threads, chunk) in [(1, 1), (1, 5), (2, 512), (2, 16), (4, 512), (4, 33)] {
            assert!(
                run(n_threads, chunk, seed) == reference,
                "{n_threads} threads, chunks of {chunk}, seed {seed}"
            );
        }
    }
    assert_ne!(run(1, 512, 0).0, run(1, 512, 1).0);
}

#[test]
fn turns_give_what_one_prompt_gives() {
    let Some(path) = data("models/stories260K/hf") else { return };
    let mut generator = generator(&path, &Setup::default());
    let first = generator.generate(&Prompt::Text(PROMPT.into()), &sampled(1)).unwrap();
    let appended = generator.generate(&Prompt::Append(" The end. Once".into()), &sampled(2)).unwrap();
    assert!(appended.usage.cached_tokens + 1 >= first.prompt_tokens.len() + first.tokens.len());
    generator.reset();
    let tokens: Vec<TokenId> = appended.prompt_tokens.clone();
    let alone = generator.generate(&Prompt::Tokens(tokens), &sampled(2)).unwrap();
    assert_eq!(alone.usage.cached_tokens, 0);
    assert_eq!((alone.tokens, alone.logprobs), (appended.tokens, appended.logprobs));
}
