//! `sm bench serve`: the latency and throughput of a server, with the options of `vllm bench serve`.

mod arrivals;
mod client;
mod dataset;
mod events;
mod figures;
mod load;
mod options;
mod report;

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime;

use crate::console::Console;
use crate::failure::Failure;
use client::Client;
use figures::Figures;
use report::Report;

pub(super) use options::Args;

/// Sends requests on schedule, and reports when their tokens came.
///
/// # Errors
/// If an option is invalid, there is no server, or all requests fail.
pub(super) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    args.check()?;
    let requests = dataset::requests(args)?;
    // One thread: it shares the machine with the server, more often than not.
    let io = runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Threads)?;
    io.block_on(async {
        let client = Client::connect(args).await?;
        load::warm_up(&client, &requests, args, console).await?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let run = load::run(&client, &requests, args, console).await;
        let figures = Figures::of(&run, args);
        let report = Report { args, model: client.model(), started, run: &run, figures: &figures };
        report.print(console)?;
        if let Some(path) = args.result_path(client.model(), started) {
            report.save(&path)?;
            console.note(format_args!("saved to {}", path.display()));
        }
        if figures.completed == 0 {
            Err(Failure::AllRequestsFailed { n: run.outcomes.len() })
        } else {
            Ok(())
        }
    })
}
