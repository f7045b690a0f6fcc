//! Speed: the criterion benches, the table of acceptance, the documents' experiments, replays of traces, `sm bench`, and the
//! random models that they run.

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

/// Without arguments everything: the criterion benches, then this engine in every cell of the table of acceptance. With
/// options, that table alone: beside the peers with `--peers`, else without them. With `--experiments`, the experiments of
/// the documents; with a model, `sm bench` on it. Further arguments go to the program that runs.
pub(crate) fn run(args: &[String]) -> Outcome {
    let Some((first, rest)) = args.split_first() else {
        spawn::run("criterion", &mut cargo(&["bench", "-p", "sm-benches", "--benches"]))?;
        return table(&["--alone".to_owned()]);
    };
    match first.as_str() {
        "--experiments" => program("experiments", rest),
        "--peers" => table(rest),
        option if option.starts_with('-') => table(&[&["--alone".to_owned()], args].concat()),
        model => {
            let mut command =
                cargo(&["run", "--release", "--quiet", "-p", "sm-cli", "--", "bench", "-m", model]);
            spawn::run("sm bench", command.args(rest))
        }
    }
}

/// The table of acceptance; `args` are those of the `peers` program.
fn table(args: &[String]) -> Outcome {
    // It starts programs that have to lie beside it.
    let build = ["build", "--release", "-p", "sm-cli", "-p", "sm-benches", "--bins"];
    spawn::run("build", &mut cargo(&build))?;
    program("peers", args)
}
