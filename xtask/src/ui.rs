//! `cargo xtask ui`: the page of the server, built from its sources with npm, and its tests in a browser.
//!
//! The build is committed, so that the program needs no Node. `--check` builds it again elsewhere and compares byte for byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::spawn::{self, cargo, command, root, succeeds, target};
use crate::tests_command::FEATURES;

/// The sources.
const FOLDER: &str = "crates/sm-server/ui";

const USAGE: &str = "\
usage: cargo xtask ui                    build the page into crates/sm-server/ui/dist/
       cargo xtask ui --check            build it elsewhere, and compare with what is committed
       cargo xtask ui --test [FILTER]    drive it with Chromium against sm serve; only test files whose name contains FILTER";

/// Builds, checks or tests the page.
pub(crate) fn run(args: &[String]) -> Outcome {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => install().and_then(|()| spawn::run("page", &mut npm(&["run", "--silent", "build"]))),
        ["--check"] => install().and_then(|()| check()),
        ["--test"] => test(""),
        ["--test", filter] => test(filter),
        _ => Err(USAGE.to_owned()),
    }
}

/// As `--check`, where the packages of the build can be had; names what is left out elsewhere.
pub(crate) fn check_if_possible() -> Outcome {
    match install() {
        Ok(()) => check(),
        Err(why) => {
            println!("== left out: whether the page is what its sources give ({why})");
            Ok(())
        }
    }
}

fn folder() -> PathBuf {
    root().join(FOLDER)
}

fn npm(args: &[&str]) -> Command {
    let mut command = command("npm", args);
    command.current_dir(folder());
    command
}

/// Installs the pinned packages, unless those of this lock file are there.
fn install() -> Outcome {
    if !succeeds(&mut npm(&["--version"])) {
        return Err("npm is missing; install Node.js 20 or later".to_owned());
    }
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let lock = read(&folder().join("package-lock.json"))?;
    let installed = folder().join("node_modules/installed-lock.json");
    if std::fs::read(&installed).is_ok_and(|known| known == lock) {
        return Ok(());
    }
    spawn::run("packages of the page", &mut npm(&["ci", "--silent", "--no-audit", "--no-fund"]))?;
    std::fs::write(&installed, lock).map_err(|error| format!("{}: {error}", installed.display()))
}

fn check() -> Outcome {
    let fresh = target().join("ui-dist");
    spawn::run("page", npm(&["run", "--silent", "build"]).env("SM_UI_OUT", &fresh))?;
    let (built, committed) = (files(&fresh)?, files(&folder().join("dist"))?);
    let paths = built.keys().chain(committed.keys());
    let mut different: Vec<&str> =
        paths.filter(|path| built.get(*path) != committed.get(*path)).map(String::as_str).collect();
    different.sort_unstable();
    different.dedup();
    if different.is_empty() {
        return Ok(());
    }
    Err(format!("{FOLDER}/dist is not what the sources give; run cargo xtask ui ({})", different.join(", ")))
}

/// The files in a folder and the folders in it, by their paths there.
fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path)?.into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, std::fs::read(&path).map_err(failed)?);
        }
    }
    Ok(found)
}

/// Runs the tests: programs of Node that find the server in `SM`.
fn test(filter: &str) -> Outcome {
    install()?;
    // As tests build it: what they depend on has other features, with which everything would be compiled once more.
    let build = ["test", "--workspace", "--locked", "--features", FEATURES, "--test", "cli", "--no-run"];
    spawn::run("build", &mut cargo(&build))?;
    let tests = folder().join("tests");
    let entries = std::fs::read_dir(&tests).map_err(|error| format!("{}: {error}", tests.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".test.mjs") && name.contains(filter));
    names.sort();
    if names.is_empty() {
        return Err(format!("no test in {FOLDER}/tests has a name with {filter:?}"));
    }
    let mut node = command("node", &["--test", "--test-concurrency=1"]);
    node.args(names.iter().map(|name| format!("tests/{name}"))).current_dir(folder());
    spawn::run("page in a browser", node.env("SM", target().join("debug/sm")))
}
