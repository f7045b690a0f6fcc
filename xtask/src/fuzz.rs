//! `cargo xtask fuzz`: mutated input against everything that reads foreign input (`mutate/`).
//!
//! Without arguments, mutations that a number determines, on any toolchain; with a target, libFuzzer, which coverage guides, where
//! cargo-fuzz and a nightly toolchain are installed, and the same mutations of that target elsewhere.

use crate::Outcome;
use crate::spawn::{self, cargo, command, root, succeeds};
use crate::tests_command::FEATURES;

/// Inputs per target.
const N_INPUTS: u32 = 10_000;

/// Default run time of libFuzzer.
const DEFAULT_SECONDS: u32 = 60;

/// Fuzzes one target, or all.
pub(crate) fn run(args: &[String]) -> Outcome {
    let targets = targets()?;
    let Some(target) = args.first() else {
        return mutations(None);
    };
    if !targets.contains(target) {
        return Err(format!("unknown target {target:?}; the targets are {}", targets.join(", ")));
    }
    let seconds = match args.get(1) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?,
        None => DEFAULT_SECONDS,
    };
    if !succeeds(&mut command("cargo", &["+nightly", "fuzz", "--version"])) {
        println!(
            "no cargo-fuzz with a nightly toolchain (cargo install cargo-fuzz): mutations without coverage"
        );
        return mutations(Some(target));
    }
    let limit = format!("-max_total_time={seconds}");
    let oracles = ["-rss_limit_mb=2048", "-timeout=10"];
    let mut fuzz = command("cargo", &["+nightly", "fuzz", "run", target, "--", &limit]);
    spawn::run(&format!("fuzz {target}"), fuzz.args(oracles))
}

/// Tries [`N_INPUTS`] mutations of a target, or of each. The whole workspace is built with the features of `cargo xtask test`, so
/// that nothing is built twice.
fn mutations(target: Option<&str>) -> Outcome {
    let mut test = cargo(&["test", "--workspace", "--locked", "--features", FEATURES]);
    test.args(["--test", "mutations", "--", "--nocapture", "--test-threads", "1"]);
    if let Some(target) = target {
        test.args(["--exact", target]);
    }
    spawn::run("mutations", test.env("SM_MUTATIONS", N_INPUTS.to_string()))
}

fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}
