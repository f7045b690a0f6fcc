//! The first request after loading versus later ones.

use std::time::Instant;

use sm_runtime::{BatchingConfig, Engine, EngineConfig, KvCacheConfig, ModelRef};
use sm_tensor::DType;

use super::{
    Bound, DOCUMENTS, ExperimentError, Finding, Goal, N_TURNS_PER_REP, RandomModel, Turns, greedy, pause,
    prompt, tokens,
};
use crate::process::Used;
use crate::summary::median;
use crate::synth::Shape;

/// Tokens of each prompt; no prompt is used twice.
const N_PROMPT: usize = 128;
/// Later requests.
const N_LATER: usize = 10;

/// Runs the experiment on the demo model and on 135 million random weights in Q4_0.
///
/// # Errors
/// If a model cannot be written or run.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let shape = Shape::named("smollm2-135m").unwrap_or(&DOCUMENTS);
    let model = RandomModel::write(shape, DType::Q4_0)?;
    Ok(vec![
        compare("demo model", &ModelRef::Demo, reps * N_TURNS_PER_REP)?,
        compare("30 layers, 576 wide, q4_0", &model.path().into(), reps)?,
    ])
}

fn compare(name: &str, model: &ModelRef, reps: usize) -> Result<Finding, ExperimentError> {
    let mut seconds = [const { Vec::new() }; 2];
    let mut faults = [const { Vec::new() }; 2];
    for _ in 0..reps {
        let [first, later] = after_loading(model)?;
        for (index, request) in [first, later].into_iter().enumerate() {
            seconds[index].push(request.seconds);
            faults[index].push(request.page_faults);
        }
    }
    let [first_faults, later_faults] = faults.map(median);
    let turns = Turns(seconds);
    Ok(Finding {
        what: format!("First request: time to first token after {N_PROMPT} tokens, {name}, no warm-up"),
        measured: format!(
            "{:.2} ms, then {:.2} ms ({N_LATER} requests, median): {:.2} × the time; {first_faults:.0} page faults, then \
             {later_faults:.0}",
            turns.seconds(0) * 1e3,
            turns.seconds(1) * 1e3,
            turns.speed_up(1, 0)
        ),
        claim: "compiled ahead of time: the first request is not slower than later ones".to_owned(),
        goals: vec![Goal { ratio: turns.speed_up(1, 0), bound: Bound::AtMost(1.2) }],
    })
}

/// The cost of a request.
#[derive(Clone, Copy, Debug)]
struct Taken {
    seconds: f64,
    page_faults: f64,
}

/// The first request of a newly loaded engine, and the median of later ones.
fn after_loading(model: &ModelRef) -> Result<[Taken; 2], ExperimentError> {
    let batching = BatchingConfig::new().max_batch_wait_us(0);
    // A small pool: the system has fewer pages to provide on first touch.
    let cache = KvCacheConfig::new().max_bytes_total(128 << 20);
    let config = EngineConfig::new().batching(batching).cache(cache);
    let engine = Engine::builder().config(config).load(model.clone())?;
    let first = first_token(&engine, 0)?;
    let later = (1..=N_LATER).map(|number| first_token(&engine, number)).collect::<Result<Vec<_>, _>>()?;
    let later = Taken {
        seconds: median(later.iter().map(|taken| taken.seconds).collect()),
        page_faults: median(later.iter().map(|taken| taken.page_faults).collect()),
    };
    Ok([first, later])
}

fn first_token(engine: &Engine, number: usize) -> Result<Taken, ExperimentError> {
    let prompt = tokens(&prompt(number, N_PROMPT, DOCUMENTS.vocab_size));
    pause();
    let before = Used::now();
    let start = Instant::now();
    engine.generate(prompt, &greedy(1))?;
    let seconds = start.elapsed().as_secs_f64();
    let faults = before.zip(Used::now()).map(|(before, after)| after.page_faults - before.page_faults);
    Ok(Taken { seconds, page_faults: faults.unwrap_or(0.0) })
}
