//! Random requests at random times in small caches: everybody gets, bit for bit, what they would get alone.

use proptest::prelude::*;
use sm_batching::{BatchingConfig, BatchingStrategy, Priority};
use sm_cache::KvCacheConfig;

use super::{alone, drafted, request, seeded};
use crate::testing::{FakeSize, fake_model, hashed, mostly_recent, recent, two_in_flight};
use crate::{
    Completion, DryOptions, DynamicTemperature, Engine, EngineConfig, Error, Generator, Grammar,
    MirostatOptions, Prompt, Request, SamplerKind, SamplingOptions, SpeculationConfig, StopRules, XtcOptions,
};

/// Schedules in a test, or as many times more as `cargo xtask soak` asks for, and fewer for `cargo xtask sanitize`.
fn n_schedules() -> u32 {
    let times = std::env::var("SM_SOAK").ok().and_then(|times| times.parse().ok());
    (2000.0 * times.unwrap_or(1.0_f64)) as u32
}

/// One request of a schedule, and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    prompt: String,
    seed: u64,
    n_tokens: usize,
    temperature: f32,
    repetition_penalty: f32,
    frequency_penalty: f32,
    stop: Option<String>,
    logprobs: Option<usize>,
    n: usize,
    priority: Priority,
    client: u64,
    pub(super) is_cancelled: bool,
    pub(super) streams: bool,
    speculates: bool,
    grammar: Option<Grammar>,
    sampler: Option<Sampler>,
}

/// A sampler that the other fields have no option of.
#[derive(Clone, Copy, Debug)]
enum Sampler {
    Dry,
    Xtc,
    Typical,
    TopNSigma,
    DynamicTemperature,
    Mirostat,
    CutsFirst,
}

impl Sampler {
    fn apply(self, options: &mut SamplingOptions) {
        match self {
            Self::Dry => options.dry = DryOptions::new().multiplier(1.5).sequence_breakers(vec!["e".into()]),
            Self::Xtc => options.xtc = XtcOptions::new().probability(0.5),
            Self::Typical => options.typical_p = 0.5,
            Self::TopNSigma => options.top_n_sigma = 1.5,
            Self::DynamicTemperature if options.temperature > 0.0 => {
                options.dynamic_temperature = DynamicTemperature::new().range(0.4);
            }
            Self::DynamicTemperature => {}
            Self::Mirostat => options.mirostat = Some(MirostatOptions::new().tau(2.0).eta(0.5)),
            Self::CutsFirst => {
                let order =
                    [SamplerKind::TopP, SamplerKind::Penalties, SamplerKind::TopK, SamplerKind::Temperature];
                options.samplers = Some(order.into());
            }
        }
    }
}

fn sampler() -> impl Strategy<Value = Option<Sampler>> {
    use Sampler::{CutsFirst, Dry, DynamicTemperature, Mirostat, TopNSigma, Typical, Xtc};
    let all = vec![Dry, Xtc, Typical, TopNSigma, DynamicTemperature, Mirostat, Mirostat, CutsFirst];
    prop::option::of(prop::sample::select(all))
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High), Just(Priority::Critical)]
}

/// Mostly none: what a grammar allows is little beside what is free.
fn grammar() -> impl Strategy<Value = Option<Grammar>> {
    let some = |expression: &str| Just(cfg!(feature = "grammar").then(|| Grammar::Regex(expression.into())));
    prop_oneof![6 => Just(None), 1 => some("([a-e]{2,4} )+"), 1 => some("(yes|no|abc+)[.!]")]
}

pub(super) fn arrival() -> impl Strategy<Value = Arrival> {
    // Few beginnings, so that prefixes are shared.
    let prompt = ("(once upon a time there |hello |)", "[a-d]{1,12}").prop_map(|(a, b)| format!("{a}{b}"));
    let sampling =
        (any::<u64>(), prop_oneof![Just(0.0f32), 0.5f32..2.0], prop_oneof![Just(1.0f32), 0.8f32..1.5]);
    let stop = (prop::option::of("[a-z]{1,2}"), grammar(), sampler());
    let shape = (1usize..40, 1usize..4, prop::option::of(0usize..3), stop);
    let service = (
        priority(),
        0u64..3,
        prop::bool::weighted(0.15),
        any::<bool>(),
        prop::bool::weighted(0.8),
        prop_oneof![Just(0.0f32), 0.0f32..1.0],
    );
    (prompt, sampling, shape, service).prop_map(|(prompt, sampling, shape, service)| {
        let (seed, temperature, repetition_penalty) = sampling;
        let (n_tokens, n, logprobs, (stop, grammar, sampler)) = shape;
        let (priority, client, is_cancelled, streams, speculates, frequency_penalty) = service;
        Arrival {
            prompt,
            seed,
            n_tokens,
            temperature,
            repetition_penalty,
            frequency_penalty,
            stop,
            logprobs,
            n,
            priority,
            client,
            is_cancelled,
            streams,
            speculates,
            grammar,
            sampler,
        }
    })
}

fn strategy() -> impl Strategy<Value = BatchingStrategy> {
    prop_oneof![
        4 => Just(BatchingStrategy::Continuous),
        1 => Just(BatchingStrategy::Naive),
        1 => Just(BatchingStrategy::Bucketed),
        1 => Just(BatchingStrategy::MemoryAware),
    ]
}

/// Lookup or not, and a draft model of some size or none.
fn speculation() -> impl Strategy<Value = (SpeculationConfig, Option<FakeSize>)> {
    let draft = (30usize..90, 1usize..20, 1usize..5).prop_map(|(context_len, max_tokens, n_sequences)| {
        FakeSize { context_len, max_tokens: max_tokens.max(n_sequences), n_sequences }
    });
    (any::<bool>(), 1usize..17, prop::option::of(draft))
        .prop_map(|(lookup, max_draft_len, draft)| (SpeculationConfig { lookup, max_draft_len }, draft))
}

/// An engine's settings: all of them may change when something is computed, none what comes out.
pub(super) fn settings() -> impl Strategy<Value = (FakeSize, EngineConfig)> {
    let size = (3usize..30, 3usize..6, 6u64..24);
    let batching = (strategy(), any::<[bool; 2]>(), 1usize..12, 0usize..9);
    let cache = (any::<bool>(), any::<bool>());
    (size, batching, cache).prop_map(
        |((max_tokens, n_sequences, n_pages), batching, (enabled, prefix_sharing))| {
            let (strategy, [prefill_only, adaptive], max_batch_size, max_chunk_tokens) = batching;
            let batching = BatchingConfig::new()
                .strategy(strategy)
                .prefill_only(prefill_only)
                // The choices of one request have to fit.
                .max_batch_size(max_batch_size.max(3))
                .adaptive(adaptive)
                .max_chunk_tokens(max_chunk_tokens)
                .max_batch_wait_us(0)
                .max_step_tokens(max_tokens.max(3));
            // A page of the fake model: 16 positions of one key and one value in single precision.
            let cache = KvCacheConfig::new()
                .enabled(enabled)
                .prefix_sharing(prefix_sharing)
                .max_bytes_total(n_pages * 16 * 8);
            let size = FakeSize { context_len: 80, max_tokens, n_sequences };
            (size, EngineConfig { batching, cache, ..EngineConfig::default() })
        },
    )
}

pub(super) fn to_request(arrival: &Arrival) -> Request {
    let mut request = request(&arrival.prompt, arrival.seed, arrival.n_tokens);
    request.options.sampling.temperature = arrival.temperature;
    request.options.sampling.repetition_penalty = arrival.repetition_penalty;
    request.options.sampling.frequency_penalty = arrival.frequency_penalty;
    arrival.sampler.iter().for_each(|sampler| sampler.apply(&mut request.options.sampling));
    request.options.stop =
        StopRules { sequences: arrival.stop.iter().cloned().collect(), ..StopRules::default() };
    request.options.grammar = arrival.grammar.clone();
    request.options.logprobs = arrival.logprobs;
    request.options.prompt_logprobs = arrival.logprobs.filter(|n_top| *n_top > 0);
    let Arrival { n, priority, client, speculates: speculate, .. } = *arrival;
    Request { n, priority, client, speculate, ..request }
}

/// The text, tokens and log-probabilities, which must be the same bits.
pub(super) fn bits(completion: &Completion) -> (String, Vec<u32>, Vec<u32>, &'static str) {
    let tokens = completion.tokens.iter().map(|token| token.0).collect();
    let scored = completion.logprobs.iter().chain(&completion.prompt_logprobs);
    let logprobs = scored.map(|token| token.logprob.to_bits()).collect();
    (completion.text.clone(), tokens, logprobs, completion.finish_reason.name())
}

/// What choices get on an engine of their own, one request at a time; the first must be what a generator gives.
pub(super) fn lone_choices(request: &Request) -> Vec<Completion> {
    let size = FakeSize { context_len: 80, max_tokens: 512, n_sequences: 4 };
    let engine = Engine::start(fake_model(size, mostly_recent).0, super::config()).unwrap();
    engine.submit(request.clone()).unwrap().wait().unwrap()
}

/// What a generator gives, which knows nothing of schedulers and caches.
fn generated(request: &Request) -> Completion {
    let size = FakeSize { context_len: 80, max_tokens: 512, n_sequences: 1 };
    let mut generator = Generator::new(fake_model(size, mostly_recent).0).unwrap();
    generator.generate(&request.prompt, &request.options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: n_schedules(), ..ProptestConfig::default() })]

    #[test]
    fn everybody_gets_what_they_would_get_alone(
        arrivals in prop::collection::vec(arrival(), 1..9), (size, config) in settings(),
        (speculation, draft) in speculation(), runs_ahead in any::<bool>(),
    ) {
        let (config, model) = (EngineConfig { speculation, ..config }, fake_model(size, mostly_recent).0);
        let model = if runs_ahead { two_in_flight(model).0 } else { model };
        let engine = match draft {
            None => Engine::start(model, config),
            Some(size) => drafted(model, fake_model(size, recent).0, config),
        };
        let engine = engine.unwrap();
        let sent: Vec<_> = arrivals
            .iter()
            .map(|arrival| {
                let request = to_request(arrival);
                let sent = if arrival.streams {
                    engine.stream(request).map(Sent::Stream)
                } else {
                    engine.submit(request).map(Sent::Handle)
                };
                if arrival.is_cancelled && let Ok(sent) = &sent {
                    sent.cancel();
                }
                sent
            })
            .collect();
        for (arrival, sent) in arrivals.iter().zip(sent) {
            let request = to_request(arrival);
            let completions = match sent.and_then(Sent::completions) {
                Err(Error::Cancelled) if arrival.is_cancelled => continue,
                // Some settings have no room for a request, alone or not.
                Err(Error::Cache(_) | Error::ResourceLimit { .. }) => continue,
                completions => completions.unwrap(),
            };
            let expected = lone_choices(&request);
            prop_assert_eq!(completions.len(), expected.len());
            prop_assert_eq!(bits(&expected[0]), bits(&generated(&request)));
            for (completion, expected) in completions.iter().zip(&expected) {
                if arrival.is_cancelled {
                    prop_assert!(expected.tokens.starts_with(&completion.tokens) || completion.tokens.is_empty());
                } else {
                    prop_assert_eq!(bits(completion), bits(expected));
                }
            }
        }
        let stats = engine.stats();
        prop_assert_eq!((stats.live_requests, stats.cache.current_leases, stats.cache.pinned_pages), (0, 0, 0));
    }
}

pub(super) enum Sent {
    Handle(crate::RequestHandle),
    Stream(crate::TokenStream),
}

impl Sent {
    pub(super) fn cancel(&self) {
        match self {
            Self::Handle(handle) => handle.cancel(),
            Self::Stream(stream) => stream.cancel(),
        }
    }

    pub(super) fn completions(self) -> Result<Vec<Completion>, Error> {
        match self {
            Self::Handle(handle) => handle.wait(),
            Self::Stream(mut stream) => {
                while let Some(event) = stream.next_blocking() {
                    event?;
                }
                stream.finish()
            }
        }
    }
}

#[test]
fn a_schedule_by_hand() {
    let engine = Engine::start(fake_model(super::SIZE, hashed).0, super::config()).unwrap();
    let requests: Vec<Request> =
        (0..12).map(|i| Request::new(Prompt::Text("abc".repeat(i % 5 + 1)), seeded(i as u64, 20))).collect();
    let handles: Vec<_> = requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    for (request, handle) in requests.iter().zip(handles) {
        assert_eq!(handle.wait().unwrap()[0].tokens, alone(request).tokens);
    }
}
