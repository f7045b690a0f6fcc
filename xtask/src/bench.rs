//! Speed: `sm bench`, and the random models that it may run.

use crate::Outcome;
use crate::spawn::{self, cargo};

/// Writes a GGUF file with random weights; `args` are those of the `synth` program.
pub(crate) fn synth(args: &[String]) -> Outcome {
    let mut command = cargo(&["run", "--release", "--quiet", "-p", "sm-benches", "--bin", "synth", "--"]);
    spawn::run("synth", command.args(args))
}

/// `sm bench` on a model, built as it ships; further arguments are those of `sm bench`.
pub(crate) fn run(args: &[String]) -> Outcome {
    let Some((model, rest)) = args.split_first() else {
        return Err("which model? cargo xtask bench MODEL; cargo xtask synth writes one with random weights"
            .to_owned());
    };
    let mut command = cargo(&["run", "--release", "--quiet", "-p", "sm-cli", "--", "bench", "-m", model]);
    spawn::run("sm bench", command.args(rest))
}
