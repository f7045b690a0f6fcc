//! The engine's own overhead per step, with a model that costs nothing: schedule, sample, send.

use std::hint::black_box;
use std::time::Instant;

use sm_runtime::sampling::{Candidates, Draw, History, SamplerChain};
use sm_runtime::{Engine, EngineConfig, Error, GenerationOptions, Request, SamplingOptions, TokenStream};

use super::{ExperimentError, Finding, greedy, prompt, tokens};
use crate::free::{free_model, logits};
use crate::summary::median;

const N_REQUESTS: usize = 8;
const N_TOKENS: usize = 900;
const VOCAB_SIZE: usize = 32_000;
const CONTEXT_LEN: usize = 1024;

/// Runs the experiment.
///
/// # Errors
/// If the engine fails.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let sampled = SamplingOptions::new().seed(1);
    let cases = [("default sampling", sampled), ("greedy", SamplingOptions::greedy())];
    let mut findings = Vec::new();
    for (name, sampling) in cases {
        let options = greedy(N_TOKENS).sampling(sampling);
        step_us(&options)?;
        let steps = (0..reps).map(|_| step_us(&options)).collect::<Result<_, _>>()?;
        let samples = (0..reps).map(|_| sample_us(&options.sampling)).collect::<Result<_, _>>()?;
        findings.push(Finding {
            what: format!(
                "Overhead: {N_REQUESTS} streams, vocabulary of {VOCAB_SIZE}, {name}, a model that costs nothing"
            ),
            measured: format!(
                "{:.1} µs per step, of which sampling alone takes {:.1} µs",
                median(steps),
                median(samples)
            ),
            claim: "the goal is < 150 µs".to_owned(),
            goals: Vec::new(),
        });
    }
    Ok(findings)
}

/// Microseconds to sample one token for each request, without an engine.
fn sample_us(options: &SamplingOptions) -> Result<f64, ExperimentError> {
    let chain = SamplerChain::new(options);
    let mut candidates = Candidates::new();
    let mut counts = Vec::new();
    let mut logits = logits(N_REQUESTS * VOCAB_SIZE);
    let start = Instant::now();
    for position in 0..N_TOKENS as u32 {
        for logits in logits.chunks_exact_mut(VOCAB_SIZE) {
            let draw = Draw { seed: 1, choice: 0, position };
            black_box(chain.sample(logits, &mut History::new(&[], 0, &mut counts), draw, &mut candidates)?);
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / N_TOKENS as f64)
}

/// Microseconds per step of requests that decode together and are streamed.
fn step_us(options: &GenerationOptions) -> Result<f64, ExperimentError> {
    let model = free_model(VOCAB_SIZE, N_REQUESTS, CONTEXT_LEN, |_| ())?;
    let engine = Engine::start(model, EngineConfig::default())?;
    let stream =
        |number| engine.stream(Request::new(tokens(&prompt(number, 19, VOCAB_SIZE)), options.clone()));
    let mut streams: Vec<TokenStream> = (0..N_REQUESTS).map(stream).collect::<Result<_, Error>>()?;
    // Start the clock at the first token, after prefill and the batching delay.
    read(&mut streams)?;
    let start = Instant::now();
    let n_before = engine.stats().batching.steps;
    for _ in 1..N_TOKENS {
        read(&mut streams)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(seconds * 1e6 / (engine.stats().batching.steps - n_before) as f64)
}

/// Reads the next event of each.
fn read(streams: &mut [TokenStream]) -> Result<(), Error> {
    streams.iter_mut().filter_map(TokenStream::next_blocking).try_for_each(|event| event.map(drop))
}
