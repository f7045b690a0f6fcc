//! Time to the first token, by model and prompt length.

use sm_runtime::ModelRef;
use sm_tensor::DType;

use super::{DOCUMENTS, ExperimentError, Finding, RandomModel, Turns, batching, greedy, prompt, tokens};
use crate::synth::Shape;

/// Prompt lengths.
const PROMPTS: [usize; 3] = [16, 128, 512];

/// Runs the experiment on the demo model and on 135 million and 1.1 billion random weights in Q4_0.
///
/// # Errors
/// If a model cannot be written or run.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let mut findings = vec![measure("demo model", &ModelRef::Demo, reps)?];
    for name in ["smollm2-135m", "llama-1.1b"] {
        let model = RandomModel::write(Shape::named(name).unwrap_or(&DOCUMENTS), DType::Q4_0)?;
        findings.push(measure(&format!("{name}, q4_0"), &model.path().into(), reps)?);
    }
    Ok(findings)
}

fn measure(name: &str, model: &ModelRef, reps: usize) -> Result<Finding, ExperimentError> {
    let engine = batching::engine(model)?;
    let first_token = |n_prompt: usize| {
        engine.generate(tokens(&prompt(1, n_prompt, DOCUMENTS.vocab_size)), &greedy(1)).map(drop)
    };
    let [short, medium, long] = PROMPTS;
    let turns = Turns::run(
        reps,
        [&mut || Ok(first_token(short)?), &mut || Ok(first_token(medium)?), &mut || Ok(first_token(long)?)],
    )?;
    let told: Vec<_> = (0..PROMPTS.len())
        .map(|case| format!("{:.1} ms after {} tokens", turns.seconds(case) * 1e3, PROMPTS[case]))
        .collect();
    Ok(Finding {
        what: format!("First token, one request at a time, CPU, {name}"),
        measured: told.join(", "),
        claim: "< 50 ms, on a GPU; the documents name neither prompt nor model".to_owned(),
        goals: Vec::new(),
    })
}
