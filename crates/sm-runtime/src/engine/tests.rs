//! The engine on a fake model: everybody gets what they would get alone, and everybody gets an answer.

mod ahead;
mod answers;
mod batches;
mod caching;
mod cancelling;
mod chats;
mod choices;
mod control;
mod deadlines;
mod endings;
#[cfg(feature = "grammar")]
mod grammars;
mod kv_disk;
mod limits;
#[cfg(all(feature = "cpu", feature = "demo-model"))]
mod loading;
mod own_code;
mod schedules;
mod seeds;
mod sessions;
mod slots;
mod speculation;
mod stateful;
mod storm;
mod streams;
mod watching;

use std::sync::Arc;

use sm_batching::BatchingConfig;
use sm_cache::{KvCacheConfig, SessionMode};
use sm_tensor::TokenId;

use crate::testing::{FakeSize, fake_model, hashed, token_of};
use crate::{
    Engine, EngineConfig, Error, GenerationOptions, Generator, Limits, LoadedModel, Prompt, RecentMetrics,
    Request, SamplingOptions, SessionOptions,
};

const SIZE: FakeSize = FakeSize { context_len: 64, max_tokens: 24, n_sequences: 4 };

fn config() -> EngineConfig {
    EngineConfig {
        batching: BatchingConfig::new().max_batch_wait_us(0).max_step_tokens(SIZE.max_tokens),
        cache: KvCacheConfig::new().max_bytes_total(1 << 20),
        ..EngineConfig::default()
    }
}

fn drafted(model: LoadedModel, draft: LoadedModel, config: EngineConfig) -> Result<Engine, Error> {
    Engine::builder().config(config).start(model, Some(draft))
}

fn engine_of(predict: impl Fn(&[TokenId]) -> Vec<f32> + Send + 'static) -> Engine {
    Engine::start(fake_model(SIZE, predict).0, config()).unwrap()
}

fn seeded(seed: u64, max_new_tokens: usize) -> GenerationOptions {
    GenerationOptions {
        sampling: SamplingOptions { seed: Some(seed), ..SamplingOptions::default() },
        limits: Limits { max_new_tokens, ..Limits::default() },
        ..GenerationOptions::default()
    }
}

fn text(text: &str) -> Prompt {
    Prompt::Text(text.into())
}

fn request(prompt: &str, seed: u64, max_new_tokens: usize) -> Request {
    Request::new(text(prompt), seeded(seed, max_new_tokens))
}

/// A session whose calls contain everything said so far.
fn transcript(name: &str) -> SessionOptions {
    SessionOptions::named(name).mode(SessionMode::Prefix)
}

/// What a request gets that is alone.
fn alone(request: &Request) -> crate::Completion {
    let mut generator = Generator::new(fake_model(FakeSize { n_sequences: 1, ..SIZE }, hashed).0).unwrap();
    generator.generate(&request.prompt, &request.options).unwrap()
}

#[test]
fn every_candidate_echoes_the_prompt_once() {
    let engine = engine_of(hashed);
    let plain = Request { n: 2, ..request("once upon", 7, 12) };
    let echoed =
        Request { options: GenerationOptions { echo: true, ..plain.options.clone() }, ..plain.clone() };
    let plain = engine.submit(plain).unwrap().wait().unwrap();
    let mut stream = engine.stream(echoed.clone()).unwrap();
    let mut pieces = [String::new(), String::new()];
    while let Some(event) = stream.next_blocking() {
        let event = event.unwrap();
        pieces[event.choice].push_str(&event.text);
    }
    let echoed = engine.submit(echoed).unwrap().wait().unwrap();
    for index in 0..2 {
        assert_eq!(echoed[index].text, format!("once upon{}", plain[index].text));
        assert_eq!(pieces[index], echoed[index].text);
        assert_eq!(echoed[index].tokens, plain[index].tokens);
    }
}

#[test]
fn a_request_gets_what_it_would_get_alone() {
    let engine = engine_of(hashed);
    for seed in 0..20 {
        let request = request("once upon a time there was", seed, 30);
        let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
        let expected = alone(&request);
        assert_eq!((completion.text, completion.tokens), (expected.text, expected.tokens));
        assert_eq!(completion.finish_reason, expected.finish_reason);
        assert_eq!(completion.usage.generated_tokens, expected.usage.generated_tokens);
    }
    let stats = engine.stats();
    assert_eq!((stats.live_requests, stats.available_slots(), stats.batch_size), (0, Some(4), 4));
    assert!(0.0 < stats.memory_usage() && stats.memory_usage() <= 1.0);
    assert!(stats.cache.reused_tokens > 0);
}

#[test]
fn a_stream_tells_token_by_token_what_the_completion_says() {
    let engine = engine_of(hashed);
    let mut stream = engine.stream(request("abc", 3, 20)).unwrap();
    let (mut told, mut tokens) = (String::new(), Vec::new());
    while let Some(event) = stream.next_blocking() {
        let event = event.unwrap();
        assert_eq!((event.index, event.choice), (tokens.len(), 0));
        told.push_str(&event.text);
        tokens.extend(event.token);
    }
    let [completion] = &stream.finish().unwrap()[..] else { panic!("one completion") };
    assert_eq!((&told, &tokens), (&completion.text, &completion.tokens));
    assert_eq!(tokens.len(), 20);
}

#[test]
fn candidates_share_the_prompt_and_draw_for_themselves() {
    let engine = engine_of(hashed);
    let request = Request { n: 3, ..request("the same prompt for all", 5, 12) };
    let completions = engine.submit(request.clone()).unwrap().wait().unwrap();
    assert_eq!(completions.len(), 3);
    assert_eq!(completions[0].tokens, alone(&request).tokens);
    assert_ne!(completions[0].tokens, completions[1].tokens);
    let again = engine.submit(request.clone()).unwrap().wait().unwrap();
    assert!(again.iter().zip(&completions).all(|(a, b)| a.tokens == b.tokens));
    let stats = engine.stats().batching;
    let n_prompt = "the same prompt for all".len() as u64;
    assert!(stats.rows < 2 * (n_prompt + 3 * 12), "{stats:?}");

    let best = Request { select: crate::Select::Best, ..request };
    let [best] = &engine.submit(best).unwrap().wait().unwrap()[..] else { panic!("one completion") };
    assert_eq!(completions[best.choice].tokens, best.tokens);
    assert!(best.logprobs.is_empty());
}

#[test]
fn a_batch_comes_back_in_order_with_seeds_that_count_up() {
    let engine = engine_of(hashed);
    let prompts: Vec<Prompt> = ["a", "bb", "ccc", "dddd", "e", "f", "g", "h", "i", "j"].map(text).to_vec();
    let options = seeded(100, 9);
    let results: Vec<_> = engine.generate_batch(prompts.clone(), &options).collect();
    assert_eq!(results.len(), prompts.len());
    for (index, (prompt, result)) in prompts.into_iter().zip(results).enumerate() {
        let expected = alone(&Request::new(prompt, seeded(100 + index as u64, 9)));
        let completion = result.unwrap();
        assert_eq!((completion.seed, completion.tokens), (100 + index as u64, expected.tokens));
    }
    assert!(engine.stats().average_batch_size() > 1.0);
}

#[test]
fn a_batch_can_be_awaited_also_beside_callers_that_fill_the_queue() {
    let mut small = config();
    small.batching.max_queued_requests = 2;
    let engine = Engine::start(fake_model(SIZE, hashed).0, small).unwrap();
    let others = engine.clone();
    let filler = std::thread::spawn(move || {
        let mut n_refused = 0;
        for seed in 0..200 {
            n_refused += usize::from(others.submit(request("xyz", seed, 3)).is_err());
        }
        n_refused
    });
    let mut batch = engine.generate_batch((0..20).map(|_| text("abc")), &seeded(100, 9)).max_parallel(3);
    let mut seeds = Vec::new();
    while let Some(completion) = block_on(batch.next_async()) {
        let completion = completion.unwrap();
        assert_eq!(completion.tokens, alone(&request("abc", completion.seed, 9)).tokens);
        seeds.push(completion.seed);
    }
    assert_eq!(seeds, (100..120).collect::<Vec<_>>());
    filler.join().unwrap();
    fn is_send<T: Send>(_: &T) {}
    is_send(&batch.next_async());
}

#[test]
fn logprobs_are_those_of_a_lone_request() {
    let engine = engine_of(hashed);
    let mut request = request("hello", 8, 10);
    request.options.logprobs = Some(2);
    let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
    assert_eq!(completion.logprobs, alone(&request).logprobs);
    assert_eq!(completion.logprobs.len(), 10);
}

#[test]
fn logprobs_of_candidates_are_those_that_tokens_are_drawn_from() {
    let engine = engine_of(hashed);
    let mut request = request("hello", 8, 10);
    request.options.logprobs = Some(5);
    request.options.logprobs_of = crate::LogprobsOf::Candidates;
    request.options.sampling.top_k = 3;
    let completion = engine.generate(request.prompt.clone(), &request.options).unwrap();
    assert_eq!(completion.logprobs, alone(&request).logprobs);
    for (token, scored) in completion.tokens.iter().zip(&completion.logprobs) {
        assert!(
            (1..=3).contains(&scored.top.len()) && scored.top.is_sorted_by(|a, b| a.1 >= b.1),
            "{scored:?}"
        );
        assert!(scored.top.contains(&(*token, scored.logprob)), "{scored:?}");
        let sum: f32 = scored.top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
    request.options.sampling.temperature = 0.0;
    let greedy = engine.generate(request.prompt.clone(), &request.options).unwrap();
    assert!(greedy.logprobs.iter().all(|scored| scored.logprob == 0.0 && scored.top.len() == 1));
}

#[test]
fn a_prompt_is_scored_token_by_token_whatever_is_cached() {
    let engine = engine_of(hashed);
    for n in [1, 3] {
        let mut request = Request { n, ..request("a prompt longer than one step of it", 8, 4) };
        request.options.prompt_logprobs = Some(2);
        let completions = engine.submit(request.clone()).unwrap().wait().unwrap();
        let expected = alone(&request);
        assert_eq!(expected.prompt_logprobs.len(), expected.prompt_tokens.len() - 1);
        for completion in &completions {
            assert_eq!(completion.prompt_logprobs, expected.prompt_logprobs);
        }
        assert_eq!(completions[0].tokens, expected.tokens);
        let sum: f64 = (0..31)
            .map(|token| f64::from(hashed(&expected.prompt_tokens[..5])[token]))
            .map(|logit| {
                (logit
                    - f64::from(hashed(&expected.prompt_tokens[..5])[expected.prompt_tokens[5].0 as usize]))
                .exp()
            })
            .sum();
        assert!((f64::from(expected.prompt_logprobs[4].logprob) + sum.ln()).abs() < 1e-5);
    }
}

#[test]
fn a_sink_is_told_of_every_step_and_every_request() {
    let metrics = Arc::new(RecentMetrics::default());
    let model = fake_model(SIZE, hashed).0;
    let engine = Engine::builder().config(config()).metrics(metrics.clone()).start(model, None).unwrap();
    let handles: Vec<_> = (0..6).map(|seed| engine.submit(request("abc", seed, 10)).unwrap()).collect();
    handles.into_iter().for_each(|handle| assert_eq!(handle.wait().unwrap()[0].tokens.len(), 10));
    let cancelled = engine.submit(request("abc", 7, 50)).unwrap();
    cancelled.cancel();
    assert!(cancelled.wait().is_err());
    let (stats, summary) = (engine.stats(), metrics.summary());
    assert_eq!((summary.requests, summary.failed), (7, 0));
    assert_eq!(
        (summary.step_ms.count, summary.tokens),
        (stats.batching.steps, stats.batching.generated_tokens)
    );
    assert!(summary.batch_size.max <= 4.0 && summary.batch_size.mean > 1.0, "{summary:?}");
    assert_eq!((summary.first_token_ms.count, summary.inter_token_ms.count), (6, 6));
    assert_eq!((summary.total_ms.count, summary.queue_ms.count >= 6), (6, true));
    assert!(summary.total_ms.p50 > 0.0 && summary.requests_per_second() > 0.0);
}

/// Panics while it counts, at the third token.
#[derive(Debug)]
struct Panicking;

impl crate::sampling::LogitsFilter for Panicking {
    fn apply(&self, _logits: &mut [f32], history: &mut crate::sampling::History<'_>) {
        let (tokens, n_generated) = (history.tokens(), history.generated().len());
        history.for_each_distinct(tokens, |_, _| assert!(n_generated < 2, "a bad filter"));
    }
}

#[test]
fn a_filter_that_panics_fails_its_request_alone() {
    let engine = Engine::builder().config(config()).start(fake_model(SIZE, hashed).0, None).unwrap();
    let mut penalized = request("abcab", 3, 20);
    penalized.options.sampling.frequency_penalty = 0.7;
    penalized.options.sampling.presence_penalty = 0.4;
    for _ in 0..3 {
        let good = engine.submit(penalized.clone()).unwrap();
        let bad = Request { filters: vec![Arc::new(Panicking)], ..request("abcab", 3, 20) };
        let error = engine.submit(bad).unwrap().wait().unwrap_err();
        assert!(matches!(&error, Error::FilterPanicked { message } if message == "a bad filter"), "{error}");
        assert_eq!(good.wait().unwrap()[0].tokens, alone(&penalized).tokens);
    }
}

/// A model that always writes `letter`.
fn always(letter: char) -> impl Fn(&[TokenId]) -> Vec<f32> + Send + 'static {
    let token = token_of(letter);
    move |_| {
        let mut logits = vec![0.0; crate::testing::CHARACTERS.chars().count()];
        logits[token.0 as usize] = 50.0;
        logits
    }
}

/// Runs a future by parking this thread until it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
