//! `cargo xtask setup`: installs what the other tasks use, where it may, and names what stays missing.

use std::path::PathBuf;

use crate::Outcome;
use crate::spawn::{self, answers, cargo, command, root};

/// The Python environment of the golden scripts.
pub(crate) fn venv_python() -> PathBuf {
    root().join(".venv/bin/python")
}

/// Components of the toolchain, then the Python environment. Building and testing need neither Python nor this.
pub(crate) fn run() -> Outcome {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !answers(&mut cargo(&[subcommand, "--version"])) {
            spawn::run(component, &mut command("rustup", &["component", "add", component]))?;
        }
    }
    if !answers(&mut cargo(&["deny", "--version"])) {
        println!("left out: cargo-deny (cargo install cargo-deny), for licences and advisories");
    }
    if !answers(&mut cargo(&["fuzz", "--version"])) {
        println!(
            "left out: cargo-fuzz (cargo install cargo-fuzz) and a nightly toolchain, for cargo xtask fuzz"
        );
    }
    python_environment()
}

/// Makes `.venv/` with the pinned packages if it is not there.
pub(crate) fn python_environment() -> Outcome {
    if !venv_python().exists() {
        spawn::run("python environment", &mut command("python3", &["-m", "venv", ".venv"]))?;
    }
    let requirements = ["-m", "pip", "install", "--quiet", "-r", "xtask/golden/requirements.txt"];
    let python = venv_python();
    spawn::run(
        "python packages",
        command(&python.to_string_lossy(), &requirements).env("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    )
}
