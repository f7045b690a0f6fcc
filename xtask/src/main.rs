//! `cargo xtask`: the repository's tasks. It spawns cargo and Python and uses no crate of the project.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool reports on its terminal")]

mod bench;
mod ci;
mod demo_model;
mod deny;
mod fuzz;
mod golden;
mod setup;
mod soak;
mod spawn;
mod tests_command;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                     everything that has to hold before a change lands: check, then test
  check                  fmt, tidy, clippy for each feature set, docs, duplicate dependencies, deny
  test [ARGS]            all tests; ARGS go to cargo test
  tidy [--root DIR] [--only RULE]  the rules of the repository that clippy does not know
  deny                   licences, advisories and duplicate versions of the dependencies
  setup [--peers]        what the other commands use: rustfmt, clippy, and .venv/ for the golden values; the engines of
                         bench --peers
  golden [--check]       make the committed reference values again, or compare them with what is committed
  demo-model [--eval]    train, quantize and evaluate the models that come with the program, or evaluate them only
  synth ARGS             write a GGUF file with random weights (cargo xtask synth --help)
  bench                  the criterion benches, then this engine in every cell of the table of acceptance
  bench --peers [ARGS]   that table beside other engines (cargo xtask bench --peers --help)
  bench --save|--check FILE [ARGS]  that table without them, kept or compared with what was kept
  bench MODEL [ARGS]     sm bench on a model
  bench --experiments [ARGS]  the experiments of the documents beside what they claim
  replay TRACE [ARGS]    replay recorded traffic on the engine (cargo xtask replay --help)
  soak [TIMES]           the tests of random schedules, so many times longer than in test (50)
  fuzz [TARGET [SECONDS]]  run one fuzz target, or name them";

/// Why a task stopped; the message is for a person at a terminal.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    match dispatch(command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {command}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, args: &[String]) -> Outcome {
    match command {
        "ci" => ci::run(),
        "check" => ci::check(),
        "test" => tests_command::run(args),
        "tidy" => tidy::run(args),
        "deny" => deny::run(),
        "setup" => setup::run(args),
        "golden" => golden::run(args),
        "demo-model" => demo_model::run(args),
        "synth" => bench::synth(args),
        "bench" => bench::run(args),
        "replay" => bench::replay(args),
        "soak" => soak::run(args),
        "fuzz" => fuzz::run(args),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("there is no command {other:?}\n{USAGE}")),
    }
}
