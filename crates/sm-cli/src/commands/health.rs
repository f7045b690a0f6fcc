//! `sm health`: asks a server how it is, for containers and scripts that have no other HTTP client.

use std::time::Duration;

use tokio::runtime;

use crate::console::Console;
use crate::failure::Failure;

/// Ask a server whether it is well
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm health
  sm health --live --url http://127.0.0.1:8080

Prints what the server says of itself. Exits with 0 if it is well, else with 1.")]
pub(crate) struct Args {
    /// URL of the server, without a path [default: http://127.0.0.1:PORT]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Port of the server on this machine, if --url names none
    #[arg(long, env = "PORT", value_name = "N", default_value_t = 8000)]
    port: u16,
    /// Ask only whether the process is alive and not draining (/health), not whether its model is loaded (/ready)
    #[arg(long)]
    live: bool,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

/// Asks the server.
///
/// # Errors
/// If it does not answer, or is not well.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let base = args.url.clone().unwrap_or_else(|| format!("http://127.0.0.1:{}", args.port));
    let url = format!("{}{}", base.trim_end_matches('/'), if args.live { "/health" } else { "/ready" });
    let io = runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Threads)?;
    let timeout = Duration::from_secs(args.timeout);
    let (is_well, body) = io
        .block_on(ask(&url, timeout))
        .map_err(|error| Failure::Unreachable { url: base, reason: error.without_url().to_string() })?;
    if is_well {
        return console.line(format_args!("{}", body.trim()));
    }
    Err(Failure::NotWell { url, answer: body.trim().to_owned() })
}

async fn ask(url: &str, timeout: Duration) -> Result<(bool, String), reqwest::Error> {
    // A proxy for the outside world is no way to a server on this machine.
    let client = reqwest::Client::builder().no_proxy().timeout(timeout).build()?;
    let response = client.get(url).send().await?;
    Ok((response.status().is_success(), response.text().await?))
}
