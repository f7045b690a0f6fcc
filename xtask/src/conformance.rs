//! `cargo xtask conformance`: llama.cpp's own server tests, against `sm serve`.
//!
//! They come from the source package of `llama-cpp-python`. `xtask/conformance/llama_server.py` stands for their server: it maps flags, and
//! only flags. Cases that fail are listed with their reasons in `xtask/conformance/exceptions.txt`; any other failure, and an exception
//! that has come to pass, is an error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::spawn::{self, cargo, command, root, target};

/// What ships the tests.
const PACKAGE: &str = "llama-cpp-python==0.3.36";

/// Test files with cases of stories260K.
const FILES: [&str; 16] = [
    "test_basic.py",
    "test_chat_completion.py",
    "test_compat_anthropic.py",
    "test_compat_gcp.py",
    "test_compat_oai_responses.py",
    "test_completion.py",
    "test_ctx_shift.py",
    "test_ignore_eos.py",
    "test_kv_keep_only_active.py",
    "test_metrics.py",
    "test_proxy.py",
    "test_security.py",
    "test_sleep.py",
    "test_slot_save.py",
    "test_template.py",
    "test_tokenize.py",
];

/// Runs the tests; `args` go to pytest, and then nothing is compared with the exceptions.
pub(crate) fn run(args: &[String]) -> Outcome {
    let stories = stories()?;
    let (python, tests) = install()?;
    // The features of `cargo xtask clients`, so that both use one build.
    spawn::run("sm", &mut cargo(&["build", "--locked", "-p", "sm-cli", "--features", "scripted"]))?;
    let outcomes = folder().join("outcomes.txt");
    let mut pytest = command(&python, &["-m", "pytest", "-q", "-p", "plugin", "-m", "not slow"]);
    pytest.args(["-p", "no:cacheprovider", "--tb=short"]);
    match args {
        [] => _ = pytest.args(FILES.map(|file| format!("unit/{file}"))),
        args => _ = pytest.args(args),
    }
    let scripts = root().join("xtask/conformance");
    pytest.current_dir(&tests).env("PYTHONPATH", &scripts).env("SM_OUTCOMES", &outcomes);
    pytest.env("SM", target().join("debug/sm")).env("SM_STORIES", stories);
    pytest.env("LLAMA_SERVER_BIN_PATH", scripts.join("llama_server.py"));
    // Failed cases are no failure yet.
    let ran = spawn::run("llama.cpp's server tests", &mut pytest);
    if !args.is_empty() {
        return ran;
    }
    compare(&outcomes, &scripts.join("exceptions.txt"))
}

fn folder() -> PathBuf {
    target().join("conformance")
}

/// Fetches what is missing: a Python environment, and the tests. Returns the interpreter and the tests' folder.
pub(crate) fn install() -> Result<(String, PathBuf), String> {
    let folder = folder();
    let python = environment(&folder, "xtask/conformance/requirements.txt")?;
    let tests = tests(&folder, &python)?;
    Ok((python, tests))
}

/// The model in the test data.
fn stories() -> Result<PathBuf, String> {
    let data = std::env::var_os("SM_TEST_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    let path = data.join("models/stories260K/hf/stories260K-f32.gguf");
    if path.exists() { Ok(path) } else { Err(format!("{} is missing; set SM_TEST_DATA", path.display())) }
}

/// A Python environment with the packages of a file. Returns its interpreter.
pub(crate) fn environment(folder: &Path, requirements: &str) -> Result<String, String> {
    let python = folder.join("venv/bin/python").to_string_lossy().into_owned();
    if !Path::new(&python).exists() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let venv = folder.join("venv");
        spawn::run("python environment", &mut command("python3", &["-m", "venv", &venv.to_string_lossy()]))?;
    }
    let install = ["-m", "pip", "install", "--quiet", "-r", requirements];
    spawn::run("python packages", command(&python, &install).env("PIP_DISABLE_PIP_VERSION_CHECK", "1"))?;
    Ok(python)
}

/// The folder of the tests, unpacked.
fn tests(folder: &Path, python: &str) -> Result<PathBuf, String> {
    let tests = folder.join("tools/server/tests");
    if tests.exists() {
        return Ok(tests);
    }
    let into = folder.to_string_lossy();
    let download = ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", &into];
    let mut download = command(python, &download);
    spawn::run("llama-cpp-python", download.args(["--no-binary", "llama-cpp-python", PACKAGE]))?;
    let archive = folder.join(format!("{}.tar.gz", PACKAGE.replace('-', "_").replace("==", "-")));
    let mut unpack =
        command("tar", &["xzf", &archive.to_string_lossy(), "-C", &into, "--strip-components=3"]);
    unpack.args(["--wildcards", "*/llama.cpp/tools/server/tests", "*/llama.cpp/models/templates"]);
    spawn::run("unpack", &mut unpack)?;
    // The package only wastes disk space from here on.
    let _ = fs::remove_file(archive);
    Ok(tests)
}

/// Compares what failed with what may fail.
fn compare(outcomes: &Path, exceptions: &Path) -> Outcome {
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let outcomes = parse(&read(outcomes)?);
    let exceptions = read(exceptions)?;
    let excepted = |case: &str| exceptions.lines().any(|line| line.split("  ").next() == Some(case));
    let count = |wanted: &str| outcomes.values().filter(|outcome| *outcome == wanted).count();
    let (n_passed, n_failed) = (count("passed"), count("failed"));
    println!("{n_passed} of {} cases passed; {} need another model", n_passed + n_failed, count("left out"));
    let wrong = outcomes.iter().filter_map(|(case, outcome)| match outcome.as_str() {
        "failed" if !excepted(case) => Some(format!("{case} failed, and is no exception")),
        "passed" if excepted(case) => Some(format!("{case} passed: take it off the exceptions")),
        _ => None,
    });
    let wrong: Vec<String> = wrong.collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The outcomes by case, as the plugin writes them.
fn parse(lines: &str) -> BTreeMap<String, String> {
    let line =
        |line: &str| line.split_once("  ").map(|(outcome, case)| (case.to_owned(), outcome.to_owned()));
    lines.lines().filter_map(line).collect()
}
