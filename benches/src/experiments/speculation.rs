//! Speculative decoding by kind of prompt: tokens per step and speed-up.

use sm_runtime::model::chat::{ChatRequest, Message};
use sm_runtime::{
    BatchingConfig, Completion, Engine, EngineConfig, Error, GenerationOptions, ModelRef, Prompt,
    SpeculationConfig, SpeculationStats, Usage,
};

use super::{Bound, ExperimentError, Finding, N_TURNS_PER_REP, Turns};

/// One prompt of each kind.
const QUESTIONS: [(&str, &str); 5] = [
    ("arithmetic", "What is 347 + 285?"),
    ("an equation", "Solve for x: 5x + 24 = 2x - 6"),
    ("code", "Write a Python function that computes the Fibonacci sequence."),
    ("a fact", "What is the capital of France?"),
    ("a story", "Tell me a story about a dragon."),
];

/// Runs the experiment on the demo model: without drafts, with lookup, and with the draft model.
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

fn engine(lookup: bool, draft: Option<ModelRef>) -> Result<Engine, Error> {
    let mut speculation = SpeculationConfig::new();
    speculation.lookup = lookup;
    let config =
        EngineConfig::new().batching(BatchingConfig::new().max_batch_wait_us(0)).speculation(speculation);
    let builder = Engine::builder().config(config);
    let builder = match draft {
        Some(draft) => builder.draft(draft),
        None => builder,
    };
    builder.load(ModelRef::Demo)
}

fn options() -> GenerationOptions {
    GenerationOptions::greedy().max_new_tokens(250)
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
    let before = speculation(engines)?;
    let completions: Vec<Completion> = engines.iter().map(run).collect::<Result<_, _>>()?;
    let after = speculation(engines)?;
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
        let drafts = describe_drafts(completions[index].usage, after[index].checks - before[index].checks);
        format!("{per_step:.2} tokens per step, {:.2} × ({drafts})", turns.speed_up(index, 0))
    };
    let rate = completions[0].tokens.len() as f64 / turns.seconds(0);
    let measured = format!("{rate:.0} tok/s plain; lookup {}; draft model {}", told(1), told(2));
    let claim = "4 × by a draft model, which accepts 0.89 of 4 drafts";
    // Text that repeats shows in the drafts that are accepted.
    let per_step = completions[1].usage.tokens_per_step();
    let least = if per_step >= 2.0 { 1.3 } else { 0.97 };
    Ok(Finding::new(what, measured, claim).goal(turns.speed_up(1, 0), Bound::AtLeast(least)))
}

fn speculation(engines: &[Engine; 3]) -> Result<Vec<SpeculationStats>, Error> {
    engines.iter().map(|engine| Ok(engine.stats().speculation)).collect()
}

/// The acceptance rate in the `n_checks` steps that verified drafts, and the expected tokens per step.
fn describe_drafts(usage: Usage, n_checks: u64) -> String {
    if usage.drafted_tokens == 0 || n_checks == 0 {
        return "no drafts".to_owned();
    }
    let per_check = |n_tokens: usize| n_tokens as f64 / n_checks as f64;
    let acceptance = usage.accepted_tokens as f64 / usage.drafted_tokens as f64;
    format!(
        "acceptance {acceptance:.2} of {:.1} drafts per check, {:.2} tokens per check, {:.2} by the formula",
        per_check(usage.drafted_tokens),
        1.0 + per_check(usage.accepted_tokens),
        expected_tokens(acceptance, per_check(usage.drafted_tokens))
    )
}

/// Expected tokens of a step that verifies `n_drafts` drafts, if each is accepted with the same probability given its
/// predecessors:
///
/// ```text
/// (1 - acceptance^(n_drafts + 1)) / (1 - acceptance)
/// ```
///
/// Leviathan et al., <https://arxiv.org/abs/2211.17192>. Drafts after a rejected one count as rejected, so the measured
/// acceptance rate is below that probability and the result too low.
fn expected_tokens(acceptance: f64, n_drafts: f64) -> f64 {
    if acceptance < 1.0 {
        (1.0 - acceptance.powf(n_drafts + 1.0)) / (1.0 - acceptance)
    } else {
        n_drafts + 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_per_step_follow_from_the_acceptance() {
        for (acceptance, tokens) in [(0.0, 1.0), (0.6, 2.3), (0.8, 3.4), (0.89, 4.0), (1.0, 5.0)] {
            let expected = expected_tokens(acceptance, 4.0);
            assert!((expected - tokens).abs() < 0.1, "{acceptance}: {expected}");
        }
    }

    #[test]
    fn describes_drafts() {
        let mut usage = Usage::default();
        usage.drafted_tokens = 40;
        usage.accepted_tokens = 32;
        let told = "acceptance 0.80 of 4.0 drafts per check, 4.20 tokens per check, 3.36 by the formula";
        assert_eq!(describe_drafts(usage, 10), told);
        assert_eq!(describe_drafts(Usage::default(), 0), "no drafts");
    }
}
