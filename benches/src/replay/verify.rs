//! Re-runs requests alone: no scheduler, no cache, no other requests.

use sm_runtime::{Completion, Device, Error, Generator, LoadOptions, Loader, ModelRef, Prompt};

use super::drive::{Outcome, options};
use super::scale::Scaled;

/// The number of requests re-run, and those that got different tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Number re-run.
    pub n: usize,
    /// Those that got different tokens.
    pub wrong: Vec<usize>,
}

/// Re-runs every `stride`th request on the demo model with `n_threads` threads, and compares tokens.
///
/// # Errors
/// If the model cannot be loaded or a re-run fails.
pub fn verify(
    requests: &[Scaled],
    outcomes: &[Outcome],
    stride: usize,
    n_threads: Option<usize>,
) -> Result<Verified, Error> {
    let options = LoadOptions::new().device(Device::Cpu { isa: None, threads: n_threads });
    let mut generator = Generator::new(Loader::new(ModelRef::Demo).options(options).load()?)?;
    let mut verified = Verified::default();
    for (index, (scaled, outcome)) in requests.iter().zip(outcomes).enumerate().step_by(stride) {
        let Some(completion) = outcome.completion() else {
            continue;
        };
        verified.n += 1;
        if alone(&mut generator, scaled, index)?.tokens != completion.tokens {
            verified.wrong.push(index);
        }
    }
    Ok(verified)
}

fn alone(generator: &mut Generator, scaled: &Scaled, index: usize) -> Result<Completion, Error> {
    generator.reset();
    generator.generate(&Prompt::Tokens(scaled.prompt.clone()), &options(scaled, index))
}
