//! Streamed tokens versus the whole answer at once.

use sm_runtime::{Error, ModelRef, Request, TokenStream};

use super::{
    Bound, ExperimentError, Finding, Goal, N_TURNS_PER_REP, Turns, batching, greedy, prompt, tokens,
};

const N_TOKENS: usize = 100;

/// Runs the experiment on the demo model.
///
/// # Errors
/// If the model fails.
pub fn run(reps: usize) -> Result<Vec<Finding>, ExperimentError> {
    let engine = batching::engine(&ModelRef::Demo)?;
    let request = || Request::new(tokens(&prompt(1, 19, 256)), greedy(N_TOKENS));
    let turns = Turns::run(
        reps * N_TURNS_PER_REP,
        [&mut || Ok(engine.submit(request())?.wait().map(drop)?), &mut || {
            Ok(read(engine.stream(request())?)?)
        }],
    )?;
    let milliseconds = |case| turns.seconds(case) * 1e3;
    Ok(vec![Finding {
        what: format!("Streaming: {N_TOKENS} tokens, demo model"),
        measured: format!(
            "{:.2} ms at once, {:.2} ms as a stream: {:.3} × the time",
            milliseconds(0),
            milliseconds(1),
            turns.speed_up(0, 1)
        ),
        claim: "minimal overhead".to_owned(),
        goals: vec![Goal { ratio: turns.speed_up(0, 1), bound: Bound::AtMost(1.05) }],
    }])
}

/// Reads all events of a stream.
fn read(mut stream: TokenStream) -> Result<(), Error> {
    std::iter::from_fn(|| stream.next_blocking()).try_for_each(|event| event.map(drop))
}
