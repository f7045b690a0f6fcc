//! Runs the cases after public bug reports, which lie beside the test data.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::spawn::{self, command, root, target};

/// Groups of cases that do not depend on the clock.
const GROUPS: [&str; 3] = ["engine", "hardening", "models"];

/// The folder of the cases, beside that of the test data.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.parent().unwrap_or(data).join("cases")
}

/// Runs every case with the `sm` that `cargo test` has built.
pub(crate) fn run(data: &Path) -> Outcome {
    let folder = folder(data);
    let sm = target().join("debug/sm").with_extension(std::env::consts::EXE_EXTENSION);
    let mut run = command("bash", &[&folder.join("run").to_string_lossy()]);
    // One case builds a crate.
    run.env("CASE_S", "600");
    run.args(GROUPS).env("SM", sm).env("SM_TEST_DATA", data).env("MAIN", root());
    spawn::run("cases", &mut run)
}
