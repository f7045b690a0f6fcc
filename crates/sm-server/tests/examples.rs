//! The examples with curl in docs/server.md, run as they are printed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "support/gaps.rs"]
mod gaps;
#[path = "support/running.rs"]
mod running;

use gaps::server_that_fills_gaps;
use running::Running;
use sm_runtime::ModelRef;
use tokio::process::Command;

const DOCUMENT: &str = include_str!("../../../docs/server.md");

/// Blocks of shell commands that call curl.
fn examples() -> Vec<String> {
    let mut examples = Vec::new();
    for block in DOCUMENT.split("\n```").filter_map(|part| part.split_once('\n')) {
        let (language, block) = block;
        if ["sh", "console"].contains(&language) && block.contains("curl ") {
            examples.push(block.to_owned());
        }
    }
    examples
}

/// Runs a block against a server. Curl ends with an error on every status that is one.
async fn run(block: &str, server: &Running) -> Result<String, String> {
    let script = format!(
        "set -e\ncurl() {{ command curl -sS --fail-with-body \"$@\"; }}\n{}",
        block.replace("http://127.0.0.1:8000", &server.url(""))
    );
    let mut bash = Command::new("bash");
    let ran =
        bash.arg("-c").arg(script).env("KEY", "a key").env("SM_ADMIN_KEY", "an admin key").output().await;
    let ran = ran.map_err(|error| format!("bash: {error}"))?;
    let printed = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
    if ran.status.success() { Ok(printed) } else { Err(printed) }
}

#[tokio::test]
async fn every_example_with_curl_runs() {
    let examples = examples();
    assert!(examples.len() >= 10, "found {examples:?}");
    let open = Running::start().await;
    let filling = server_that_fills_gaps().await;
    for block in examples {
        let server = if block.contains("/infill") { &filling } else { &open };
        if block.contains("$KEY") || block.contains("$SM_ADMIN_KEY") {
            // One of them drains the server.
            let keyed =
                Running::of(ModelRef::Demo, |config| config.api_key("a key").admin_key("an admin key")).await;
            let outcome = run(&block, &keyed).await;
            assert!(outcome.is_ok(), "{block}\n{outcome:?}");
        } else {
            let outcome = run(&block, server).await;
            assert!(outcome.as_ref().is_ok_and(|printed| !printed.trim().is_empty()), "{block}\n{outcome:?}");
        }
    }
    filling.stop().await;
    open.stop().await;
}
