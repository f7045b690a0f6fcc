//! `cargo xtask fuzz`: the targets under `fuzz/`, which want cargo-fuzz and a nightly toolchain.

use crate::Outcome;
use crate::spawn::{self, answers, command, root};

/// How long a target runs where no time is given.
const DEFAULT_SECONDS: u32 = 60;

/// Runs a target for some seconds; without arguments, names the targets.
pub(crate) fn run(args: &[String]) -> Outcome {
    let targets = targets()?;
    let Some(target) = args.first() else {
        println!("targets: {}", targets.join(", "));
        return Ok(());
    };
    if !targets.contains(target) {
        return Err(format!("there is no target {target:?}; there are {}", targets.join(", ")));
    }
    let seconds = match args.get(1) {
        Some(text) => text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?,
        None => DEFAULT_SECONDS,
    };
    if !answers(&mut command("cargo", &["+nightly", "--version"])) {
        return Err("fuzzing needs a nightly toolchain: rustup toolchain install nightly".to_owned());
    }
    if !answers(&mut command("cargo", &["+nightly", "fuzz", "--version"])) {
        return Err("fuzzing needs cargo-fuzz: cargo install cargo-fuzz".to_owned());
    }
    let limit = format!("-max_total_time={seconds}");
    let args = ["+nightly", "fuzz", "run", target, "--", &limit, "-rss_limit_mb=2048"];
    spawn::run(&format!("fuzz {target}"), &mut command("cargo", &args))
}

fn targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}
