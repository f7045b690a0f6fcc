//! Speed: the criterion benches, `sm bench`, and the random models that it may run.

use crate::Outcome;
use crate::spawn::{self, cargo};

/// Writes a GGUF file with random weights; `args` are those of the `synth` program.
pub(crate) fn synth(args: &[String]) -> Outcome {
    let mut command = cargo(&["run", "--release", "--quiet", "-p", "sm-benches", "--bin", "synth", "--"]);
    spawn::run("synth", command.args(args))
}

/// The criterion benches; with a model also `sm bench` on it, built as it ships. Further arguments go to `sm bench`.
pub(crate) fn run(args: &[String]) -> Outcome {
    spawn::run("criterion", &mut cargo(&["bench", "-p", "sm-benches", "--benches"]))?;
    let Some((model, rest)) = args.split_first() else {
        println!(
            "left out: sm bench (give a model: cargo xtask bench MODEL; cargo xtask synth writes random ones)"
        );
        return Ok(());
    };
    let mut command = cargo(&["run", "--release", "--quiet", "-p", "sm-cli", "--", "bench", "-m", model]);
    spawn::run("sm bench", command.args(rest))
}
