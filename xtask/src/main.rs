//! `cargo xtask`: the repository's tasks. Runs cargo and Python; depends on no crate of the project.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool reports on its terminal")]

mod bench;
mod cases;
mod ci;
mod clients;
mod conformance;
mod demo_model;
mod deny;
mod deploy;
mod examples;
mod fuzz;
mod golden;
mod load;
mod matrices;
mod package;
mod readme;
mod schemathesis;
mod setup;
mod soak;
mod sound;
mod spawn;
mod tests_command;
mod tidy;
mod ui;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                     check, then test: what a change must pass
  check                  fmt, tidy, clippy for each feature set, docs, duplicate dependencies, deny
  test [ARGS]            all tests and examples; with ARGS, cargo test with these arguments
  tidy [--root DIR] [--only RULE]  the repository's rules that clippy cannot check
  deny                   licences, advisories and duplicate versions of the dependencies
  conformance [ARGS]     llama.cpp's server tests against sm serve; with ARGS, pytest with these arguments
  schemathesis [ARGS]    requests that /openapi.json allows and forbids, against sm serve; ARGS go to schemathesis
  package                package and build every crate as cargo publish would, without publishing
  readme                 generate each crate's README from its crate-level documentation
  setup [--peers|--models|--clients|--conformance|--deploy|--ray|--dynamo]  install dependencies of the other commands: rustfmt,
                         clippy and .venv/; with --peers, the engines that bench --peers measures; with --models, trained
                         models for more tests; with --clients, what clients runs; with --conformance, the tests of other
                         servers; with --deploy, --ray and --dynamo, what deploy-check runs
  golden [--check]       regenerate the committed reference values, or compare them with what is committed
  demo-model [--eval]    train, quantize and evaluate the built-in models, or only evaluate them
  synth ARGS             write a GGUF file with random weights (cargo xtask synth --help)
  bench                  the criterion benches, then the acceptance table for this engine alone
  bench --peers [ARGS]   the acceptance table against other engines (cargo xtask bench --peers --help)
  bench --against CHECKOUT [ARGS]  the acceptance table, interleaved with the build of another checkout
  bench --save|--check FILE [ARGS]  the acceptance table, saved or compared with a saved one
  bench --gpu [FOLDER]   the first GPU, with programs built before, in at most 8 minutes; writes to a folder
  bench MODEL [ARGS]     sm bench on a model
  bench --experiments [ARGS]  the original documents' experiments, next to their claims
  replay TRACE [ARGS]    replay recorded traffic on the engine (cargo xtask replay --help)
  soak [TIMES]           the random-schedule tests, TIMES (50) times longer than in test; --device gpu: on a GPU
  clients [FILTER]       the SDKs and agents of others against the built program: a file per client, in Python and Node, whose
                         name contains FILTER; installs their pinned versions into target/clients/ (needs pip and npm)
  ui [--check|--test [FILTER]]  build the page of the server, compare the build with what is committed, or drive the page with
                         Chromium (needs npm)
  deploy-check [CHECK]   every file of deploy/ and .github/ by the tool that will read it; --drive: routers in front of three
                         replicas; --docs: the commands of docs/deployment.md and docs/scale-out.md; --ray and --dynamo: the
                         examples for Ray and Dynamo; --bin PATH: with this program
  simulate TRACE [ARGS]  fleets of replicas behind a router, on recorded traffic (cargo xtask simulate --help); --check: beside
                         a real run of three
  matrices               the tests of the GPU backend on a Mesa with cooperative matrices, in a Debian in target/matrices (needs
                         root and debootstrap)
  load                   the server under ten times its capacity, with clients that go away, idle and slow ones
  fuzz [TARGET [SECONDS]]  10,000 mutated inputs for each reader of foreign input; or libFuzzer on one
  loom                   models of the CPU team's synchronisation, in every order of its steps
  sanitize [ARGS]        unit tests of unsafe code under AddressSanitizer, and Miri if it is installed (nightly)";

/// The error is a message for the terminal.
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
        "ui" => ui::run(args),
        "deny" => deny::run(),
        "package" => package::run(),
        "conformance" => conformance::run(args),
        "readme" => readme::run(),
        "schemathesis" => schemathesis::run(args),
        "setup" => setup::run(args),
        "golden" => golden::run(args),
        "demo-model" => demo_model::run(args),
        "synth" => bench::synth(args),
        "bench" => bench::run(args),
        "replay" => bench::replay(args),
        "matrices" => matrices::run(args),
        "load" => load::run(args),
        "soak" => soak::run(args),
        "clients" => clients::run(args),
        "deploy-check" => deploy::run(args),
        "simulate" => deploy::simulate(args),
        "fuzz" => fuzz::run(args),
        "loom" => sound::loom(),
        "sanitize" => sound::sanitize(args),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(format!("unknown command {other:?}\n{USAGE}")),
    }
}
