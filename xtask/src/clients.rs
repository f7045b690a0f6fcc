//! `cargo xtask clients`: other people's SDKs against the program.
//!
//! Each file in `crates/sm-server/tests/clients/` named `test_….py` or `test_….mjs` is a program that ends with status 0 if its client
//! got what it expects. It gets the address of a server by `SM_URL`, and that of one with a scripted model by
//! `SM_SCRIPTED_URL`. Versions are pinned in `requirements.txt` and `package.json` beside the files.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::spawn::{self, cargo, command, root, succeeds, target};

/// Where the clients' files are.
const FOLDER: &str = "crates/sm-server/tests/clients";

/// What the scripted model says.
pub(crate) const SCRIPT: &str = "scripted:crates/sm-server/tests/scripts/weather.json";

/// Builds the program, installs the clients, and runs those whose file name contains the filter.
pub(crate) fn run(args: &[String]) -> Outcome {
    let filter = args.first().map_or("", String::as_str);
    spawn::run("build", &mut cargo(&["build", "--locked", "-p", "sm-cli", "--features", "scripted"]))?;
    let clients = clients(filter)?;
    if clients.is_empty() {
        return Err(format!("no client's file in {FOLDER} has a name with {filter:?}"));
    }
    let is_python = |client: &PathBuf| client.extension().is_some_and(|kind| kind == "py");
    if clients.iter().any(is_python) {
        install_python()?;
    }
    if !clients.iter().all(is_python) {
        install_node()?;
    }
    let demo = Server::start(&[])?;
    let scripted = Server::start(&["--alias", "scripted", "-m", SCRIPT])?;
    let mut failed = Vec::new();
    for client in clients {
        let name = client.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut command = if is_python(&client) { python(&client) } else { node(&client)? };
        command.env("SM_URL", &demo.url).env("SM_SCRIPTED_URL", &scripted.url);
        if spawn::run(&name, &mut command).is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// The files of the clients, by name.
fn clients(filter: &str) -> Result<Vec<PathBuf>, String> {
    let folder = root().join(FOLDER);
    let files = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    files.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("test_") && name.contains(filter)
    });
    files.sort();
    Ok(files)
}

fn installed() -> PathBuf {
    target().join("clients")
}

fn venv_python() -> PathBuf {
    installed().join("venv/bin/python")
}

fn install_python() -> Outcome {
    let python = venv_python();
    if !python.exists() {
        let venv = installed().join("venv");
        spawn::run("environment", &mut command("python3", &["-m", "venv", &venv.to_string_lossy()]))?;
    }
    let requirements = format!("{FOLDER}/requirements.txt");
    let install = ["-m", "pip", "install", "--quiet", "-r", &requirements];
    let mut install = command(&python.to_string_lossy(), &install);
    spawn::run("python packages", install.env("PIP_DISABLE_PIP_VERSION_CHECK", "1"))
}

/// Packages are found in folders above the files that import them, so the files are copied to where the packages are.
fn install_node() -> Outcome {
    if !succeeds(&mut command("npm", &["--version"])) {
        return Err(
            "npm is missing; install Node.js 20 or later, or run the clients in Python alone".to_owned()
        );
    }
    copy("package.json")?;
    let folder = installed();
    spawn::run(
        "node packages",
        command("npm", &["install", "--silent", "--no-audit", "--no-fund"]).current_dir(folder),
    )
}

/// Copies a file to the installed packages.
fn copy(name: &str) -> Result<PathBuf, String> {
    let copied = installed().join(name);
    std::fs::create_dir_all(installed()).map_err(|error| error.to_string())?;
    std::fs::copy(root().join(FOLDER).join(name), &copied).map_err(|error| format!("{name}: {error}"))?;
    Ok(copied)
}

fn python(client: &Path) -> Command {
    command(&venv_python().to_string_lossy(), &[&client.to_string_lossy()])
}

fn node(client: &Path) -> Result<Command, String> {
    let copied = copy(&client.file_name().unwrap_or_default().to_string_lossy())?;
    Ok(command("node", &[&copied.to_string_lossy()]))
}

/// A server on a free port, until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(model: &[&str]) -> Result<Self, String> {
        let program = target().join("debug/sm");
        let mut command = command(&program.to_string_lossy(), &["serve", "--port", "0"]);
        let mut child = command
            .args(model)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
        }
        match line.trim().strip_prefix("listening on ") {
            Some(url) => Ok(Self { child, url: url.to_owned() }),
            None => Err(format!("the server says {line:?} instead of its address")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has no state that a sudden end could harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
