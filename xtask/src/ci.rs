//! `cargo xtask ci` and `cargo xtask check`: the checks a change must pass.

use crate::spawn::{self, cargo};
use crate::{Outcome, deny, tests_command, tidy, ui};

/// Crates that must also compile without a backend.
const WITHOUT_BACKEND: [&str; 2] = ["sm-kernels", "sm-runtime"];

/// Checks, then tests. The tests run even if a check fails, so that one run shows everything.
pub(crate) fn run() -> Outcome {
    let checks = check();
    let tests = tests_command::run(&[]);
    match (checks, tests) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(a), Err(b)) => Err(format!("{a}; {b}")),
        (Err(e), Ok(())) | (Ok(()), Err(e)) => Err(e),
    }
}

/// Everything except the tests. Runs all checks and reports failures together.
pub(crate) fn check() -> Outcome {
    let mut results = vec![spawn::run("fmt", &mut cargo(&["fmt", "--all", "--check"])), tidy::run(&[])];
    let features = format!("{},sm-benches/gpu", tests_command::FEATURES);
    results.push(spawn::run(
        "clippy",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--features",
            &features,
            "--",
            "-D",
            "warnings",
        ]),
    ));
    for package in WITHOUT_BACKEND {
        let args =
            ["clippy", "-p", package, "--no-default-features", "--lib", "--locked", "--", "-D", "warnings"];
        results.push(spawn::run(&format!("clippy {package} without a backend"), &mut cargo(&args)));
    }
    // Only the tests compare it with the CPU's.
    let gpu_alone =
        ["--no-default-features", "--features", "gpu", "--lib", "--locked", "--", "-D", "warnings"];
    let mut command = cargo(&["clippy", "-p", "sm-kernels"]);
    results.push(spawn::run("clippy sm-kernels with a GPU alone", command.args(gpu_alone)));
    // With the features of clippy, whose dependencies are compiled by now.
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked", "--features", &features]);
    results.push(spawn::run("doc", doc.env("RUSTDOCFLAGS", "-D warnings")));
    results.push(deny::run());
    results.push(ui::check_if_possible());
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}
