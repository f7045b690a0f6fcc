//! `cargo xtask clients`: other people's SDKs and agents against the program.
//!
//! Each file in `crates/sm-server/tests/clients/` named `test_….py` or `test_….mjs` is a program that ends with status 0 if its client
//! got what it expects. It gets the address of a server by `SM_URL`, that of one with scripted models by `SM_SCRIPTED_URL`, and the
//! program by `SM`. Versions are pinned in the lists beside the files.

mod installed;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use crate::Outcome;
use crate::spawn::{self, cargo, command, root, target};
use installed::Environment;

/// Where the clients' files are.
const FOLDER: &str = "crates/sm-server/tests/clients";

/// What the scripted models say, by their names.
const SCRIPTS: [(&str, &str); 3] =
    [("scripted", "weather.json"), ("langchain", "langchain.json"), ("agents", "agents.json")];

/// The first of them.
pub(crate) const SCRIPT: &str = "scripted:crates/sm-server/tests/scripts/weather.json";

/// Builds the program, installs the clients, and runs those whose file name contains the filter.
pub(crate) fn run(args: &[String]) -> Outcome {
    let filter = args.first().map_or("", String::as_str);
    spawn::run("build", &mut cargo(&["build", "--locked", "-p", "sm-cli", "--features", "scripted"]))?;
    let clients = clients(filter)?;
    if clients.is_empty() {
        return Err(format!("no client's file in {FOLDER} has a name with {filter:?}"));
    }
    install(&clients)?;
    let demo = Server::start(&[])?;
    let scripts =
        SCRIPTS.map(|(name, file)| format!("scripted:crates/sm-server/tests/scripts/{file}={name}"));
    let models: Vec<&str> = scripts.iter().flat_map(|script| ["-m", script]).collect();
    let scripted = Server::start(&models)?;
    let mut failed = Vec::new();
    for client in clients {
        let name = client.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut command = Environment::of(&client).run(&client)?;
        command.env("SM", program()).env("SM_URL", &demo.url).env("SM_SCRIPTED_URL", &scripted.url);
        if spawn::run(&name, &mut command).is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// The built program.
fn program() -> PathBuf {
    target().join("debug/sm")
}

/// Installs what all clients import.
///
/// # Errors
/// If a package cannot be had.
pub(crate) fn setup() -> Outcome {
    install(&clients("")?)
}

fn install(clients: &[PathBuf]) -> Outcome {
    let mut environments: Vec<Environment> = clients.iter().map(|client| Environment::of(client)).collect();
    environments.sort_by_key(|environment| format!("{environment:?}"));
    environments.dedup();
    environments.iter().try_for_each(Environment::install)
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

/// A server on a free port, until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(models: &[&str]) -> Result<Self, String> {
        let program = program();
        let mut command = command(&program.to_string_lossy(), &["serve", "--port", "0"]);
        let mut child = command
            .args(models)
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
