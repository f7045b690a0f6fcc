//! Speed: the criterion benches, the documents' experiments, replays of traces, `sm bench`, and the random models that they
//! may run.

use crate::Outcome;
use crate::spawn::{self, cargo};

/// Writes a GGUF file with random weights; `args` are those of the `synth` program.
pub(crate) fn synth(args: &[String]) -> Outcome {
    program("synth", args)
}

/// Replays recorded traffic; `args` are those of the `replay` program. A path is as seen from the root.
pub(crate) fn replay(args: &[String]) -> Outcome {
    program("replay", args)
}

/// A program of the package `sm-benches`, built as it ships.
fn program(name: &str, args: &[String]) -> Outcome {
    let mut command = cargo(&["run", "--release", "--quiet", "-p", "sm-benches", "--bin", name, "--"]);
    spawn::run(name, command.args(args))
}

/// The criterion benches; with a model also `sm bench` on it, built as it ships. Further arguments go to `sm bench`. With
/// `--experiments` instead of a model, the experiments of the documents alone; further arguments go to them.
pub(crate) fn run(args: &[String]) -> Outcome {
    if let Some((first, rest)) = args.split_first()
        && first == "--experiments"
    {
        return program("experiments", rest);
    }
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
