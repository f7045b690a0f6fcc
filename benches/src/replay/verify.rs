//! Runs requests again, each alone: no scheduler, no cache, no other requests.

use sm_runtime::{Completion, Device, Error, Generator, LoadOptions, Loader, ModelRef, Prompt};

use super::drive::{Outcome, options};
use super::scale::Scaled;

/// How many requests were run again, and which got different tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many were run again.
    pub n: usize,
    /// Those that got different tokens.
    pub wrong: Vec<usize>,
}

/// Runs every `stride`th request again on the demo model with `n_threads` threads, and compares tokens.
///
/// # Errors
/// If the model cannot be loaded, or a request fails alone.
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
