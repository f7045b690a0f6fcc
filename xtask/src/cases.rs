//! Runs the cases after public bug reports, which lie beside the test data.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::spawn::{self, command, root, target};

/// Groups of cases that do not depend on the clock.
const GROUPS: [&str; 3] = ["engine", "hardening", "models"];

/// Cases that `sm` does not get right yet. The program of `hardening/12` does not compile since `Backend::prepare` takes loaded
/// weights; what it does is in the tests of the kernels' team and in `loom/`.
const KNOWN_WRONG: [&str; 4] = [
    "hardening/01-schema-ref-chain-kills-process",
    "hardening/03-chat-template-memory",
    "hardening/12-safe-code-use-after-free",
    "hardening/13-prompt-memory",
];

/// The folder of the cases, beside that of the test data.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.parent().unwrap_or(data).join("cases")
}

/// Runs every case that should pass with the `sm` that `cargo test` has built.
pub(crate) fn run(data: &Path) -> Outcome {
    let folder = folder(data);
    let cases = expected_right(&folder)?;
    for case in KNOWN_WRONG {
        println!("known to be wrong: {case}");
    }
    let sm = target().join("debug/sm").with_extension(std::env::consts::EXE_EXTENSION);
    let mut run = command("bash", &[&folder.join("run").to_string_lossy()]);
    run.args(cases).env("SM", sm).env("SM_TEST_DATA", data).env("MAIN", root());
    spawn::run("cases", &mut run)
}

/// The cases of all groups but the known wrong ones.
fn expected_right(folder: &Path) -> Result<Vec<String>, String> {
    let mut cases = Vec::new();
    for group in GROUPS {
        let group_folder = folder.join(group);
        let entries =
            fs::read_dir(&group_folder).map_err(|error| format!("{}: {error}", group_folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", group_folder.display()))?;
            cases.push(format!("{group}/{}", entry.file_name().to_string_lossy()));
        }
    }
    if let Some(missing) = KNOWN_WRONG.iter().find(|case| !cases.iter().any(|found| found == *case)) {
        return Err(format!("{} has no case {missing}: update KNOWN_WRONG", folder.display()));
    }
    cases.retain(|case| !KNOWN_WRONG.contains(&case.as_str()));
    cases.sort();
    Ok(cases)
}
