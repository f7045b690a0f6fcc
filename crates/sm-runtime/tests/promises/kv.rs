//! Keys and values of the demo model: the memory that they take, and the work that they save a conversation.

use sm_runtime::{
    BatchingConfig, Completion, Device, Engine, EngineConfig, GenerationOptions, Generator, KvCacheConfig,
    LoadOptions, LoadedModel, Loader, ModelRef, Prompt, Request, Threads,
};

fn load(options: LoadOptions) -> LoadedModel {
    Loader::new(ModelRef::Demo).options(options).load().unwrap()
}

#[test]
fn their_memory_is_as_planned_and_proportional_to_the_context() {
    const N_SEQUENCES: usize = 3;
    let measured = [256, 512, 1024].map(|context_len| {
        // As many pages as the contexts of all sequences need.
        let config = EngineConfig::new()
            .batching(BatchingConfig::new().max_batch_size(N_SEQUENCES))
            .cache(KvCacheConfig::new().max_bytes_total(u64::MAX));
        let engine = Engine::start(load(crate::one_thread().context_len(context_len)), config).unwrap();
        let planned = engine.memory_plan(N_SEQUENCES as u64, context_len as u64).kv_bytes().unwrap();
        assert_eq!(engine.info().kv_bytes as u64, planned, "a context of {context_len}");
        planned
    });
    assert_eq!((measured[1], measured[2]), (2 * measured[0], 4 * measured[0]));
}

fn seeded(seed: u64, max_new_tokens: usize) -> GenerationOptions {
    GenerationOptions::new().seed(seed).max_new_tokens(max_new_tokens).logprobs(1)
}

/// Tokens and log-probabilities are, bit for bit, what the same context gives alone.
fn assert_as_alone(generator: &mut Generator, completion: &Completion, options: &GenerationOptions) {
    generator.reset();
    let context = Prompt::Tokens(completion.prompt_tokens.clone());
    let alone = generator.generate(&context, options).unwrap();
    assert_eq!(alone.usage.cached_tokens, 0);
    assert_eq!((&completion.tokens, &completion.logprobs), (&alone.tokens, &alone.logprobs));
}

#[test]
fn a_second_turn_among_others_computes_what_is_new_and_says_what_it_would_say_alone() {
    let config = EngineConfig::new()
        .load(LoadOptions::new().device(Device::Cpu { isa: None, threads: Threads::Exactly(2) }))
        .batching(BatchingConfig::new().max_batch_wait_us(0));
    let engine = Engine::builder().config(config).load(ModelRef::Demo).unwrap();
    let session = engine.session("talk").unwrap();
    let mut generator = Generator::new(load(crate::one_thread())).unwrap();
    let mut said = Vec::new();
    for (turn, text) in
        ["Once upon a time, there was a dog.", " The dog saw a cat.", " Then"].iter().enumerate()
    {
        let beside = |index: u64| {
            let prompt =
                Prompt::Text(["What is 123 + 456?", "In a distant galaxy"][index as usize % 2].into());
            let options = seeded(100 + index, 24);
            (engine.submit(Request::new(prompt, options.clone())).unwrap(), options)
        };
        let neighbours = [0, 1, 2].map(beside);
        let options = seeded(turn as u64, 16);
        let completion = session.generate(text, &options).unwrap();
        assert!(completion.prompt_tokens.starts_with(&said), "turn {turn}");
        // The last token that was said was sampled, and not computed.
        assert_eq!(completion.usage.cached_tokens, said.len().saturating_sub(1), "turn {turn}");
        assert_as_alone(&mut generator, &completion, &options);
        said = [&completion.prompt_tokens[..], &completion.tokens].concat();
        for (handle, options) in neighbours {
            assert_as_alone(&mut generator, &handle.wait().unwrap()[0], &options);
        }
    }
    assert!(engine.stats().average_batch_size() > 1.0);
}
