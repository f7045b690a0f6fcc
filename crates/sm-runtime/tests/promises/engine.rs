//! Many requests on the demo model: each gets what it gets alone, whatever threads, chunks, batches and memory there are.

use sm_runtime::{
    BatchingConfig, Completion, Device, Engine, EngineConfig, GenerationOptions, Generator, KvCacheConfig,
    LoadOptions, Loader, ModelRef, Prompt, Request, SamplingOptions, SpeculationConfig, Threads,
};

const PROMPTS: [&str; 6] = [
    "Once upon a time",
    "Once upon a time, there was a little girl named Lily. Lily lived in a small village.",
    "The quick brown fox",
    "Solve for x: 2x + 3 = 9",
    "What is 123 + 456?",
    "In a distant galaxy",
];

fn requests() -> Vec<Request> {
    let request = |(index, prompt): (usize, &str)| {
        let sampling = SamplingOptions::new()
            .seed(index as u64)
            .temperature(index as f32 / 6.0)
            .repetition_penalty(1.0 + index as f32 / 50.0);
        let options = GenerationOptions::new().sampling(sampling).max_new_tokens(20 + 7 * index).logprobs(2);
        Request::new(Prompt::Text(prompt.to_owned()), options)
    };
    (0..12).map(|index| request((index, PROMPTS[index % PROMPTS.len()]))).collect()
}

fn alone(requests: &[Request]) -> Vec<Completion> {
    let model = Loader::new(ModelRef::Demo).options(crate::one_thread()).load().unwrap();
    let mut generator = Generator::new(model).unwrap();
    let complete = |request: &Request| {
        generator.reset();
        generator.generate(&request.prompt, &request.options).unwrap()
    };
    requests.iter().map(complete).collect()
}

#[test]
fn everybody_gets_what_they_would_get_alone() {
    let requests = requests();
    let expected = alone(&requests);
    for (n_threads, max_step_tokens, max_batch_size, n_pages, lookup, drafts) in [
        (1, 512, 8, 4096, false, false),
        (2, 17, 12, 4096, false, true),
        (4, 64, 3, 64, true, false),
        (2, 40, 12, 64, true, true),
        (3, 512, 1, 4096, false, true),
    ] {
        // 5 layers of 4 heads, keys and values of 32 halves, 16 positions.
        let page_bytes = 2 * 5 * 4 * 32 * 2 * 16;
        let mut speculation = SpeculationConfig::new();
        speculation.lookup = lookup;
        let config = EngineConfig::new()
            .load(LoadOptions::new().device(Device::Cpu { isa: None, threads: Threads::Exactly(n_threads) }))
            .batching(
                BatchingConfig::new()
                    .max_step_tokens(max_step_tokens)
                    .max_batch_size(max_batch_size)
                    .max_batch_wait_us(0),
            )
            .cache(KvCacheConfig::new().max_bytes_total(n_pages * page_bytes))
            .speculation(speculation);
        let builder = Engine::builder().config(config);
        let builder = if drafts { builder.draft(ModelRef::DemoDraft) } else { builder };
        let engine = builder.load(ModelRef::Demo).unwrap();
        let handles: Vec<_> =
            requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
        for (handle, expected) in handles.into_iter().zip(&expected) {
            let completions = handle.wait().unwrap();
            let settings = (n_threads, max_step_tokens, max_batch_size, n_pages, lookup, drafts);
            assert_eq!(completions[0].tokens, expected.tokens, "{settings:?}");
            assert_eq!(completions[0].logprobs, expected.logprobs, "{settings:?}");
            assert_eq!(completions[0].text, expected.text, "{settings:?}");
        }
        let stats = engine.stats().speculation;
        assert!(!drafts || stats.acceptance() > 0.3, "{stats:?}");
        assert_eq!(stats.failed, 0);
    }
}
