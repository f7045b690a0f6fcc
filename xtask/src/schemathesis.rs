//! `cargo xtask schemathesis`: requests that `/openapi.json` allows and forbids, of every kind, against the built program.
//!
//! All of schemathesis' checks: no answer is a fault of the server, or has a status, a type or a form that the document lacks; what the
//! document forbids is refused, and what it allows is not. The model is scripted, so that answers are short.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::clients::{SCRIPT, Server};
use crate::conformance::environment;
use crate::spawn::{self, cargo, command, target};

/// Requests for each operation.
const N_EXAMPLES: &str = "200";

/// The key of an administrator, whom everything is allowed.
const KEY: &str = "schemathesis";

/// What answers that it is not supported, with 501: always, or for models without the tokens of `/infill`.
const REFUSED: &str = "^/(api/(delete|create|copy|push|blobs)|slots/|infill)";

/// What a scripted model cannot do.
const EMBEDDING: &str = "embed";

/// What changes how all else is answered.
const CHANGING: &str = "^/admin/(drain|resume|unload|reconfigure|models/unload)";

/// Installs schemathesis, builds the program, and runs them; `args` go to schemathesis.
pub(crate) fn run(args: &[String]) -> Outcome {
    let python = install()?;
    spawn::run("sm", &mut cargo(&["build", "--locked", "-p", "sm-cli", "--features", "scripted"]))?;
    let others = format!("{REFUSED}|{CHANGING}|{EMBEDDING}");
    let runs: [(&str, &str, &[&str]); 4] = [
        ("operations", SCRIPT, &["--exclude-path-regex", &others]),
        // What an engine can be changed to depends on what it is.
        (
            "administration",
            SCRIPT,
            &["--include-path-regex", CHANGING, "--exclude-checks", "positive_data_acceptance"],
        ),
        ("embeddings", "demo", &["--include-path-regex", EMBEDDING]),
        (
            "refused operations",
            SCRIPT,
            &["--include-path-regex", REFUSED, "--exclude-checks", "not_a_server_error"],
        ),
    ];
    let mut failed = Vec::new();
    for (title, model, selected) in runs {
        // Room for any prompt that is made up here; the demo model has no more.
        let context = if model == SCRIPT { "8192" } else { "1024" };
        let server = Server::start(&[
            "-m",
            model,
            "--context",
            context,
            "--any-model",
            "--admin-key",
            KEY,
            "--log-level",
            "error",
        ])?;
        let schema = format!("{}/openapi.json", server.url);
        let program = Path::new(&python).with_file_name("schemathesis");
        let mut schemathesis = command(&program.to_string_lossy(), &["run", &schema, "--checks", "all"]);
        schemathesis.args(["--phases", "examples,coverage,fuzzing", "--max-examples", N_EXAMPLES]);
        // A model without optimization, on a busy machine.
        schemathesis.args(["--request-timeout", "600", "--max-response-time", "600"]);
        schemathesis.args(["--seed", "1", "--suppress-health-check", "all", "--no-color"]);
        schemathesis.args(["-H", &format!("Authorization: Bearer {KEY}")]).args(selected).args(args);
        // Its notes on earlier failures belong to one run.
        schemathesis.current_dir(folder());
        failed.extend(spawn::run(title, &mut schemathesis).err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

fn folder() -> PathBuf {
    target().join("schemathesis")
}

/// Installs what is missing. Returns the interpreter.
pub(crate) fn install() -> Result<String, String> {
    environment(&folder(), "xtask/conformance/schemathesis.txt")
}
