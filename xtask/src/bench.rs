//! `cargo xtask bench`, `synth` and `replay`: build and run the programs of `sm-benches`.

mod gpu;
mod servers;

use std::path::Path;

use crate::Outcome;
use crate::spawn::{self, cargo};

/// Writes a GGUF file with random weights; see `benches/src/bin/synth.rs` for `args`.
pub(crate) fn synth(args: &[String]) -> Outcome {
    program("synth", args)
}

/// Replays recorded traffic; see `benches/src/bin/replay.rs` for `args`. Paths are relative to the root.
pub(crate) fn replay(args: &[String]) -> Outcome {
    program("replay", args)
}

/// Runs a program of `sm-benches`, built in release mode.
fn program(name: &str, args: &[String]) -> Outcome {
    let mut command = cargo(&["run", "--release", "--quiet", "-p", "sm-benches", "--bin", name, "--"]);
    spawn::run(name, command.args(args))
}

/// Without arguments, runs the criterion benches and the acceptance table for this engine alone. The first argument
/// selects something else: the table against other engines or another checkout's build, the server beside llama-server, the first GPU, the documents' experiments, or
/// `sm bench` on a model. Further arguments are passed to the program.
pub(crate) fn run(args: &[String]) -> Outcome {
    let Some((first, rest)) = args.split_first() else {
        spawn::run("criterion", &mut cargo(&["bench", "-p", "sm-benches", "--benches"]))?;
        return table(&["--alone".to_owned()]);
    };
    match first.as_str() {
        "--experiments" => program("experiments", rest),
        "--peers" => table(rest),
        "--against" => against(rest),
        "--servers" => servers::run(rest),
        "--gpu" => gpu::run(rest),
        option if option.starts_with('-') => table(&[&["--alone".to_owned()], args].concat()),
        model => {
            let mut command =
                cargo(&["run", "--release", "--quiet", "-p", "sm-cli", "--", "bench", "-m", model]);
            spawn::run("sm bench", command.args(rest))
        }
    }
}

/// The acceptance table, interleaved with the build of another checkout, whose folder is the first argument.
fn against(args: &[String]) -> Outcome {
    let Some((checkout, rest)) = args.split_first() else {
        return Err("--against needs the folder of another checkout".to_owned());
    };
    let checkout = Path::new(checkout).canonicalize().map_err(|error| format!("{checkout}: {error}"))?;
    let mut build = cargo(&BUILD);
    // Two builds must not share a target folder.
    build.current_dir(&checkout).env_remove("CARGO_TARGET_DIR");
    spawn::run(&format!("build of {}", checkout.display()), &mut build)?;
    let programs = checkout.join("target/release").to_string_lossy().into_owned();
    table(&[&["--against".to_owned(), programs], rest].concat())
}

/// Cargo arguments that build the programs of the acceptance table.
const BUILD: [&str; 7] = ["build", "--release", "-p", "sm-cli", "-p", "sm-benches", "--bins"];

/// The acceptance table; see `benches/src/bin/peers.rs` for `args`.
fn table(args: &[String]) -> Outcome {
    // `peers` runs the programs in its own folder.
    spawn::run("build", &mut cargo(&BUILD))?;
    program("peers", args)
}
