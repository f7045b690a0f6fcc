//! Guesses of next tokens, by kind of prompt: how many tokens a step gives, and what that is worth.

use sm_runtime::model::chat::{ChatRequest, Message};
use sm_runtime::{
    BatchingConfig, Completion, Engine, EngineConfig, Error, GenerationOptions, Limits, ModelRef, Prompt,
    SamplingOptions, SpeculationConfig,
};

use super::{ExperimentError, Finding, N_TURNS_PER_REP, Turns};

/// Kinds of prompts, one of each.
const QUESTIONS: [(&str, &str); 5] = [
    ("arithmetic", "What is 347 + 285?"),
    ("an equation", "Solve for x: 5x + 24 = 2x - 6"),
    ("code", "Write a Python function that computes the Fibonacci sequence."),
    ("a fact", "What is the capital of France?"),
    ("a story", "Tell me a story about a dragon."),
];

/// Runs the experiment on the demo model: without guesses, with lookup, and with its draft model.
///
/// # Errors
/// If a model cannot be run.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let engines = [engine(false, None)?, engine(true, None)?, engine(false, Some(ModelRef::DemoDraft))?];
    let mut findings = Vec::new();
    for (kind, question) in QUESTIONS {
        let prompt = conversation(&engines[0], &[question])?;
        findings.push(compare(&engines, kind, &prompt, reps)?);
    }
    for (kind, question) in [QUESTIONS[2], QUESTIONS[1]] {
        let answer = engines[0].generate(conversation(&engines[0], &[question])?, &options())?.text;
        let prompt = conversation(&engines[0], &[question, &answer, question])?;
        findings.push(compare(&engines, &format!("{kind}, asked again"), &prompt, reps)?);
    }
    Ok(findings)
}

fn engine(lookup: bool, draft: Option<ModelRef<'_>>) -> Result<Engine, Error> {
    let config = EngineConfig {
        batching: BatchingConfig { max_batch_wait_us: 0, ..BatchingConfig::default() },
        speculation: SpeculationConfig { lookup, ..SpeculationConfig::default() },
        ..EngineConfig::default()
    };
    let builder = Engine::builder().config(config);
    let builder = match draft {
        Some(draft) => builder.draft(draft),
        None => builder,
    };
    builder.load(ModelRef::Demo)
}

fn options() -> GenerationOptions {
    GenerationOptions {
        sampling: SamplingOptions::greedy(),
        limits: Limits { max_new_tokens: 250, ..Limits::default() },
        ..GenerationOptions::default()
    }
}

/// Turns of a conversation, the user's first.
fn conversation(engine: &Engine, turns: &[&str]) -> Result<Prompt, ExperimentError> {
    let roles = ["user", "assistant"].into_iter().cycle();
    let messages: Vec<Message> = roles.zip(turns).map(|(role, text)| Message::new(role, text)).collect();
    let template =
        engine.chat_template().map_err(|error| ExperimentError::Chat { reason: error.to_string() })?;
    let rendered = template
        .render(&ChatRequest::new(&messages))
        .map_err(|error| ExperimentError::Chat { reason: error.to_string() })?;
    Ok(Prompt::Chat(rendered))
}

fn compare(
    engines: &[Engine; 3],
    kind: &str,
    prompt: &Prompt,
    reps: usize,
) -> Result<Finding, ExperimentError> {
    let what = format!("Speculation: {kind}, demo model");
    let run = |engine: &Engine| engine.generate(prompt.clone(), &options());
    let completions: Vec<Completion> = engines.iter().map(run).collect::<Result<_, _>>()?;
    if completions.iter().any(|completion| completion.tokens != completions[0].tokens) {
        return Err(ExperimentError::Different { what });
    }
    let [plain, lookup, draft] = engines;
    let turns = Turns::run(
        reps * N_TURNS_PER_REP,
        [&mut || Ok(run(plain).map(drop)?), &mut || Ok(run(lookup).map(drop)?), &mut || {
            Ok(run(draft).map(drop)?)
        }],
    )?;
    let told = |index: usize| {
        let per_step = completions[index].usage.tokens_per_step();
        format!("{per_step:.2} tokens per step, {:.2} ×", turns.speed_up(index, 0))
    };
    let rate = completions[0].tokens.len() as f64 / turns.seconds(0);
    let measured = format!("{rate:.0} tok/s plain; lookup {}; draft model {}", told(1), told(2));
    let claim = "4 × by a draft model; the goals here: text that repeats, ≥ 2 tokens per step and ≥ 1.3 × by lookup; \
                 other text, ≥ 0.97 ×";
    Ok(Finding { what, measured, claim: claim.to_owned() })
}
