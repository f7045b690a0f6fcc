//! Eight requests batched versus one at a time, on the same engine.

use sm_runtime::{
    BatchingConfig, Engine, EngineConfig, Error, KvCacheConfig, ModelRef, Request, RequestHandle, TokenId,
};
use sm_tensor::DType;

use super::{
    Bound, DOCUMENTS, ExperimentError, Finding, RandomModel, Turns, cpu_per_token, greedy, prompt, tokens,
};
use crate::synth::Shape;

pub(super) const N_REQUESTS: usize = 8;
pub(super) const N_TOKENS: usize = 100;
const N_PROMPT: usize = 19;

/// Runs the experiment on the documents' model and on the demo model.
///
/// # Errors
/// If a model cannot be written or run.
pub fn run_small(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let claim = "~40 → ~200 tok/s: 5 ×, and better CPU utilization (the documents do not say on which model)";
    let model = RandomModel::write(&DOCUMENTS, DType::F32)?;
    Ok(vec![
        compare("4 layers, 128 wide, f32", &model.path().into(), claim, 1.5, reps)?,
        compare("demo model", &ModelRef::Demo, claim, 1.5, reps)?,
    ])
}

/// Runs it on a model larger than any CPU cache: `model`, or 1.1 billion random weights in Q4_0.
///
/// # Errors
/// As [`run_small`].
pub fn run_large(model: Option<&ModelRef>, reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let claim = "~40 → ~200 tok/s: 5 ×; the goal here is ≥ 2.5 ×";
    if let Some(model) = model {
        return Ok(vec![compare("the model given", model, claim, 2.5, reps)?]);
    }
    let shape = Shape::named("llama-1.1b").unwrap_or(&DOCUMENTS);
    let model = RandomModel::write(shape, DType::Q4_0)?;
    Ok(vec![compare("22 layers, 2048 wide, q4_0", &model.path().into(), claim, 2.5, reps)?])
}

/// Batches must be faster by the factor `least`.
fn compare(
    name: &str,
    model: &ModelRef,
    claim: &str,
    least: f64,
    reps: usize,
) -> Result<Finding, ExperimentError> {
    let engine = engine(model)?;
    let what = format!("Batching: {N_REQUESTS} requests of {N_PROMPT} + {N_TOKENS} tokens, {name}");
    if together(&engine)? != one_by_one(&engine)? {
        return Err(ExperimentError::Different { what });
    }
    let turns = Turns::run(
        reps,
        [&mut || Ok(one_by_one(&engine).map(drop)?), &mut || Ok(together(&engine).map(drop)?)],
    )?;
    let n_tokens = N_REQUESTS * N_TOKENS;
    let rate = |seconds: f64| n_tokens as f64 / seconds;
    let cpu_alone = cpu_per_token(n_tokens, || Ok(one_by_one(&engine).map(drop)?))?;
    let cpu_together = cpu_per_token(n_tokens, || Ok(together(&engine).map(drop)?))?;
    let measured = format!(
        "{:.1} → {:.1} tok/s: {:.2} ×; processor time per token {cpu_alone} → {cpu_together}",
        rate(turns.seconds(0)),
        rate(turns.seconds(1)),
        turns.speed_up(1, 0)
    );
    Ok(Finding::new(what, measured, claim).goal(turns.speed_up(1, 0), Bound::AtLeast(least)))
}

/// No batching delay and no prefix cache, so that only batching makes a difference.
pub(super) fn config() -> EngineConfig {
    EngineConfig::new()
        .batching(BatchingConfig::new().max_batch_size(N_REQUESTS).max_batch_wait_us(0))
        .cache(KvCacheConfig::new().enabled(false))
}

/// An engine with this [`config`].
pub(super) fn engine(model: &ModelRef) -> Result<Engine, Error> {
    Engine::builder().config(config()).load(model.clone())
}

fn submit(engine: &Engine, number: usize) -> Result<RequestHandle, Error> {
    engine.submit(Request::new(tokens(&prompt(number, N_PROMPT, DOCUMENTS.vocab_size)), greedy(N_TOKENS)))
}

fn output(handle: RequestHandle) -> Result<Vec<TokenId>, Error> {
    Ok(handle.wait()?.swap_remove(0).tokens)
}

pub(super) fn one_by_one(engine: &Engine) -> Result<Vec<Vec<TokenId>>, Error> {
    (0..N_REQUESTS).map(|number| output(submit(engine, number)?)).collect()
}

pub(super) fn together(engine: &Engine) -> Result<Vec<Vec<TokenId>>, Error> {
    let handles: Vec<_> = (0..N_REQUESTS).map(|number| submit(engine, number)).collect::<Result<_, _>>()?;
    handles.into_iter().map(output).collect()
}
