//! `cargo xtask loom` and `cargo xtask sanitize`: what shows that `unsafe` code and the threads around it are sound.

use crate::Outcome;
use crate::spawn::{self, cargo, command, root, succeeds, target};

/// The tests of `unsafe` code that need no instruction set: small enough for Miri, which interprets them.
const UNDER_MIRI: [&str; 5] =
    ["cpu::arena::", "cpu::split::", "cpu::kv_pool::", "cpu::team::", "cpu::activations::"];

/// Tree borrows, since crossbeam-epoch, which rayon uses, breaks the rules of stacked borrows; leaks, since rayon's threads
/// live on after the tests.
const MIRI_FLAGS: &str =
    "-Zmiri-disable-isolation -Zmiri-permissive-provenance -Zmiri-tree-borrows -Zmiri-ignore-leaks";

/// Leaks that are meant: what a panic left behind whose payload cannot be dropped without another one.
const MEANT_LEAKS: &str = "leak:drop_quietly\n";

/// The part of the random schedules that runs under AddressSanitizer, which is many times slower.
const SCHEDULES: &str = "0.1";

/// Crates with `unsafe` code, and the one that calls most of it.
const WITH_UNSAFE: [&str; 2] = ["sm-kernels", "sm-runtime"];

/// Runs the models of the team's synchronisation (`loom/`).
pub(crate) fn loom() -> Outcome {
    let mut models = cargo(&["test", "--locked", "--manifest-path", "loom/Cargo.toml", "--", "--nocapture"]);
    spawn::run("loom", models.env("CARGO_TARGET_DIR", target().join("loom")))
}

/// Runs the unit tests of the crates with `unsafe` code, or those that `args` select, under AddressSanitizer, and the small
/// ones under Miri where it is installed.
pub(crate) fn sanitize(args: &[String]) -> Outcome {
    if !succeeds(&mut command("cargo", &["+nightly", "--version"])) {
        return Err("sanitizers need a nightly toolchain: rustup toolchain install nightly".to_owned());
    }
    let host = host()?;
    let mut tests = command("cargo", &["+nightly", "test", "--locked", "--lib", "--target", &host]);
    WITH_UNSAFE.iter().for_each(|package| _ = tests.args(["-p", package]));
    // Optimising the kernels takes longer than their tests without.
    tests.args(["--config", "profile.dev.package.sm-kernels.opt-level=0"]);
    tests.env("RUSTFLAGS", "-Zsanitizer=address").env("CARGO_TARGET_DIR", target().join("sanitize"));
    // Zero pages over a lost mapping are meant, and the handler that puts them there must be ours.
    tests.env("ASAN_OPTIONS", "handle_sigbus=0").env("SM_SOAK", SCHEDULES).arg("--").args(args);
    let suppressions = target().join("sanitize-suppressions.txt");
    std::fs::write(&suppressions, MEANT_LEAKS)
        .map_err(|error| format!("{}: {error}", suppressions.display()))?;
    tests.env("LSAN_OPTIONS", format!("suppressions={}", suppressions.display()));
    spawn::run("address sanitizer", &mut tests)?;
    if !succeeds(&mut command("cargo", &["+nightly", "miri", "--version"])) {
        println!("skipped: Miri (rustup component add miri --toolchain nightly)");
        return Ok(());
    }
    let mut tests =
        command("cargo", &["+nightly", "miri", "test", "--locked", "-p", "sm-kernels", "--lib", "--"]);
    tests.args(UNDER_MIRI).env("MIRIFLAGS", MIRI_FLAGS);
    spawn::run("miri", tests.env("CARGO_TARGET_DIR", target().join("miri")))
}

/// The name of this machine's target: sanitizers instrument no build scripts, which an explicit one keeps apart.
fn host() -> Result<String, String> {
    let about = spawn::output(command("rustc", &["-vV"]).current_dir(root()))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("rustc does not tell its host: {about}"))
}
