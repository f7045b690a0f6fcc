//! Generation with a KV cache versus recomputing the whole context for every token.

use std::path::Path;

use sm_runtime::{Error, Generator, Loader, TokenId};
use sm_tensor::DType;

use super::{
    Bound, DOCUMENTS, ExperimentError, Finding, RandomModel, Turns, cpu_per_token, greedy, prompt, tokens,
};

/// Generated tokens.
const N_TOKENS: usize = 50;
/// Prompt lengths: the documents', and those that fill a context of 512 and of 2048 tokens.
const PROMPTS: [usize; 3] = [19, 512 - N_TOKENS, 2048 - N_TOKENS];

/// Runs the experiment.
///
/// # Errors
/// If the model cannot be written or run.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let model = RandomModel::write(&DOCUMENTS, DType::F32)?;
    PROMPTS.iter().map(|n_prompt| compare(model.path(), *n_prompt, reps)).collect()
}

fn compare(model: &Path, n_prompt: usize, reps: usize) -> Result<Finding, ExperimentError> {
    let load = || Loader::new(model).load().and_then(Generator::new);
    let mut cached = load()?;
    let mut uncached = load()?;
    let prompt = prompt(1, n_prompt, DOCUMENTS.vocab_size);
    let what =
        format!("KV cache: 4 layers, 128 wide, f32; {n_prompt} tokens of prompt, {N_TOKENS} generated");
    if with_cache(&mut cached, &prompt)? != without_cache(&mut uncached, &prompt)? {
        return Err(ExperimentError::Different { what });
    }
    let turns = Turns::run(
        reps,
        [&mut || Ok(with_cache(&mut cached, &prompt).map(drop)?), &mut || {
            Ok(without_cache(&mut uncached, &prompt).map(drop)?)
        }],
    )?;
    let on = turns.seconds(0);
    let off = turns.seconds(1);
    let cpu_on = cpu_per_token(N_TOKENS, || Ok(with_cache(&mut cached, &prompt).map(drop)?))?;
    let cpu_off = cpu_per_token(N_TOKENS, || Ok(without_cache(&mut uncached, &prompt).map(drop)?))?;
    let rate = |seconds: f64| N_TOKENS as f64 / seconds;
    let measured = format!(
        "{:.1} → {:.1} tok/s, {:.1} → {:.1} ms: {:.1} ×; processor time per token {cpu_off} → {cpu_on}",
        rate(off),
        rate(on),
        off * 1e3,
        on * 1e3,
        turns.speed_up(0, 1)
    );
    let claim = match n_prompt {
        19 => "5.29 → 69.73 tok/s, 9457 → 717 ms: 13.2 ×; reduced CPU usage",
        _ => "13.2 ×, at the documents' 19 tokens; the longer the context, the more there is to save",
    };
    Ok(Finding::new(what, measured, claim).goal(turns.speed_up(0, 1), Bound::AtLeast(4.0)))
}

fn with_cache(generator: &mut Generator, prompt: &[TokenId]) -> Result<Vec<TokenId>, Error> {
    generator.reset();
    Ok(generator.generate(&tokens(prompt), &greedy(N_TOKENS))?.tokens)
}

fn without_cache(generator: &mut Generator, prompt: &[TokenId]) -> Result<Vec<TokenId>, Error> {
    let mut context = prompt.to_vec();
    for _ in 0..N_TOKENS {
        generator.reset();
        context.extend(generator.generate(&tokens(&context), &greedy(1))?.tokens);
    }
    Ok(context.split_off(prompt.len()))
}
