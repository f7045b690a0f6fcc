//! `cargo xtask deploy-check`: every file of `deploy/` and `.github/` by the tool that will read it, and routers in front of replicas.
//!
//! The checks and the drives are Python, as most of what they need is: `xtask/deploy/`. A check whose tool is missing is named and left
//! out; `cargo xtask setup --deploy` installs the tools.

use std::path::PathBuf;

use crate::Outcome;
use crate::conformance::environment;
use crate::spawn::{self, cargo, command, root, succeeds, target};

/// Debian's packages of the programs that are configured.
const PACKAGES: [&str; 3] = ["haproxy", "nginx-light", "prometheus"];

/// What is run.
const SCRIPTS: [(&str, &str); 4] = [
    ("--drive", "drive.py"),
    ("--docs", "documents.py"),
    ("--ray", "ray_examples.py"),
    ("--dynamo", "dynamo_example.py"),
];

/// Without an option, checks the files; `--drive` runs the routers, `--docs` the commands of the documents, `--ray` and `--dynamo` the examples for
/// Ray and Dynamo, and `--bin PATH` takes a built program. Other arguments select checks by name.
pub(crate) fn run(args: &[String]) -> Outcome {
    let mut script = "check.py";
    let mut program = None;
    let mut selected = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match SCRIPTS.iter().find(|(option, _)| option == arg) {
            Some((_, named)) => script = named,
            None if arg == "--bin" => {
                program = Some(PathBuf::from(args.next().ok_or("--bin needs the path of sm")?));
            }
            None => selected.push(arg),
        }
    }
    let python = match script {
        "ray_examples.py" => install_ray()?,
        "dynamo_example.py" => install_dynamo()?,
        _ => install()?,
    };
    let program = match program {
        Some(program) => program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?,
        None => build()?,
    };
    let mut command = command(&python, &[&format!("xtask/deploy/{script}")]);
    command.args(selected).env("SM", program).env("PYTHONDONTWRITEBYTECODE", "1");
    spawn::run(script, &mut command)
}

/// Builds the program with what the image has.
fn build() -> Result<PathBuf, String> {
    let build = ["build", "--locked", "-p", "sm-cli", "--features", "kv-events,scripted"];
    spawn::run("sm", &mut cargo(&build))?;
    Ok(target().join("debug/sm").with_extension(std::env::consts::EXE_EXTENSION))
}

/// Installs the tools that packages ship. Returns the interpreter.
fn install() -> Result<String, String> {
    environment(&target().join("deploy"), "xtask/deploy/requirements.txt")
}

fn install_ray() -> Result<String, String> {
    environment(&target().join("ray"), "examples/ray/requirements.txt")
}

fn install_dynamo() -> Result<String, String> {
    let python = environment(&target().join("dynamo"), "examples/dynamo/requirements.txt")?;
    let packages = "examples/dynamo/requirements-no-deps.txt";
    let install = ["-m", "pip", "install", "--quiet", "--no-deps", "-r", packages];
    spawn::run("dynamo", command(&python, &install).env("PIP_DISABLE_PIP_VERSION_CHECK", "1"))?;
    Ok(python)
}

/// Installs what the checks and drives need, as far as this machine allows: Debian's packages only for root.
///
/// # Errors
/// If a Python package cannot be had.
pub(crate) fn setup() -> Outcome {
    let install_all = ["install", "-y", "-qq", "--no-install-recommends"];
    let mut apt = command("apt-get", &install_all);
    if !succeeds(&mut command("apt-get", &["--version"])) {
        println!("missing: apt-get; install {} by hand", PACKAGES.join(", "));
    } else if spawn::run("packages", apt.args(PACKAGES)).is_err() {
        println!("missing: some of {} (apt-get update, then apt-get install as root)", PACKAGES.join(", "));
    }
    install().map(drop)
}

/// Installs what the examples for Ray need.
///
/// # Errors
/// If a Python package cannot be had.
pub(crate) fn setup_ray() -> Outcome {
    install_ray().map(drop)
}

/// Installs what the example for Dynamo needs.
///
/// # Errors
/// If a Python package cannot be had.
pub(crate) fn setup_dynamo() -> Outcome {
    install_dynamo().map(drop)
}

/// Simulates fleets on recorded traffic; see `simulate/src/main.rs` for `args`. `--check` compares with a real run of three replicas, of the
/// program of `--bin PATH` or one that is built.
pub(crate) fn simulate(args: &[String]) -> Outcome {
    let build = ["build", "--release", "--locked", "--quiet", "-p", "sm-simulate"];
    spawn::run("build", &mut cargo(&build))?;
    let simulate = release("sm-simulate");
    let Some(("--check", rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
        return spawn::run("simulate", command(&simulate.to_string_lossy(), &[]).args(args));
    };
    let program = match rest {
        [] => {
            spawn::run("sm", &mut cargo(&["build", "--release", "--locked", "-p", "sm-cli"]))?;
            release("sm")
        }
        [bin, path] if bin == "--bin" => root().join(path),
        _ => return Err("usage: cargo xtask simulate --check [--bin PATH]".to_owned()),
    };
    let mut check = command(&install()?, &["xtask/deploy/simulation.py"]);
    spawn::run("simulation beside replicas", check.env("SM", program).env("SIMULATE", simulate))
}

/// A program that is built in release mode.
fn release(name: &str) -> PathBuf {
    target().join("release").join(name).with_extension(std::env::consts::EXE_EXTENSION)
}
