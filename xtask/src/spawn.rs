//! Runs other programs from the repository root.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;

/// The root of the repository: the parent of this crate's folder.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// The folder of what cargo builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command that runs in the repository root.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// The cargo running this task.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    command(&cargo, args)
}

/// Runs a command on this terminal and prints its duration.
pub(crate) fn run(title: &str, command: &mut Command) -> Outcome {
    println!("== {title}");
    let start = Instant::now();
    let status =
        command.status().map_err(|e| format!("{title}: cannot start {:?}: {e}", command.get_program()))?;
    println!("== {title}: {status} after {:.0} s", start.elapsed().as_secs_f32());
    if status.success() { Ok(()) } else { Err(format!("{title} failed ({status})")) }
}

/// Runs a command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let program = format!("{:?}", command.get_program());
    let output =
        command.stderr(Stdio::piped()).output().map_err(|e| format!("cannot start {program}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{program} wrote something that is not text: {e}"))
}

/// Whether a command exists and succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}
