//! Effect of batching on the latency of eight callers and of a single one.

use std::time::Instant;

use sm_runtime::{BatchingConfig, Engine, EngineConfig, Error, KvCacheConfig, ModelRef};
use sm_tensor::DType;

use super::concurrency::{N_TOKENS, serve};
use super::{
    Bound, DOCUMENTS, ExperimentError, Finding, Goal, N_TURNS_PER_REP, RandomModel, Turns, greedy, pause,
    prompt, tokens,
};

const N_CALLERS: usize = 8;
/// Prompt tokens of a single request.
const N_PROMPT: usize = 19;

/// Runs the experiment on the documents' model and on the demo model.
///
/// # Errors
/// If a model cannot be written or run.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let model = RandomModel::write(&DOCUMENTS, DType::F32)?;
    let models = [("4 layers, 128 wide, f32", model.path().into()), ("demo model", ModelRef::Demo)];
    let mut findings = Vec::new();
    for (name, model) in models {
        let engines = engines(&model)?;
        findings.push(eight_callers(&engines, name, reps)?);
        findings.push(lone_request(&engines, name, reps)?);
    }
    Ok(findings)
}

/// Engines without batching, with the original delay of 10 ms, and with batching that never waits; all without a prefix cache.
fn engines(model: &ModelRef) -> Result<[Engine; 3], Error> {
    let engine = |batching| {
        let cache = KvCacheConfig::new().enabled(false);
        let config = EngineConfig::new().batching(batching).cache(cache);
        Engine::builder().config(config).load(model.clone())
    };
    let on = BatchingConfig::default();
    Ok([engine(on.clone().enabled(false))?, engine(on.clone().max_batch_wait_us(10_000))?, engine(on)?])
}

fn eight_callers(engines: &[Engine; 3], name: &str, reps: usize) -> Result<Finding, ExperimentError> {
    let mut latencies = [const { Vec::new() }; 3];
    let mut first_tokens = [const { Vec::new() }; 3];
    for engine in engines {
        serve(engine, N_CALLERS)?;
    }
    for _ in 0..reps {
        for (index, engine) in engines.iter().enumerate() {
            let run = serve(engine, N_CALLERS)?;
            latencies[index].push(run.latency_ms.mean / 1e3);
            first_tokens[index].push(run.first_token_ms.mean / 1e3);
        }
    }
    let latencies = Turns(latencies);
    let told = |turns: &Turns<3>| {
        let [off, on, at_once] = [0, 1, 2].map(|case| turns.seconds(case) * 1e3);
        let [of_on, of_at_once] = [1, 2].map(|case| turns.speed_up(0, case));
        format!("{off:.2} → {on:.2} ms ({of_on:.2} ×), without waiting {at_once:.2} ms ({of_at_once:.2} ×)")
    };
    Ok(Finding {
        what: format!(
            "Latency of {N_CALLERS} callers, {N_TOKENS} tokens each, without → with batching, {name}"
        ),
        measured: format!(
            "per request, in the mean, {}; to the first token {}",
            told(&latencies),
            told(&Turns(first_tokens))
        ),
        claim: "reduced per-request latency when concurrent".to_owned(),
        goals: vec![Goal { ratio: latencies.speed_up(0, 2), bound: Bound::AtMost(1.0) }],
    })
}

fn lone_request(engines: &[Engine; 3], name: &str, reps: usize) -> Result<Finding, ExperimentError> {
    let first_token = |engine: &Engine| {
        let prompt = tokens(&prompt(1, N_PROMPT, DOCUMENTS.vocab_size));
        pause();
        let start = Instant::now();
        engine.generate(prompt, &greedy(1)).map(|_| start.elapsed().as_secs_f64())
    };
    engines.iter().try_for_each(|engine| first_token(engine).map(drop))?;
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..reps * N_TURNS_PER_REP {
        for (engine, seconds) in engines.iter().zip(&mut seconds) {
            seconds.push(first_token(engine)?);
        }
    }
    let turns = Turns(seconds);
    let [off, on, at_once] = [0, 1, 2].map(|case| turns.seconds(case) * 1e3);
    Ok(Finding {
        what: format!("First token of a lone request of {N_PROMPT} tokens, {name}"),
        measured: format!(
            "{off:.2} ms without batching; {on:.2} ms with it, {at_once:.2} ms if it never waits ({:.2} × without)",
            turns.speed_up(0, 2)
        ),
        claim: "disable batching for low latency: without, no later than with".to_owned(),
        goals: vec![Goal { ratio: turns.speed_up(0, 2), bound: Bound::AtMost(1.0) }],
    })
}
