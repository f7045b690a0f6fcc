//! Sends the requests when they are due, and waits for all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::arrivals;
use super::client::{Client, Outcome};
use super::dataset::Planned;
use super::options::Args;
use crate::console::Console;
use crate::failure::Failure;
use crate::progress::{Progress, Unit};

/// What happened.
#[derive(Debug)]
pub(super) struct Run {
    /// In the order of the plan.
    pub(super) outcomes: Vec<Outcome>,
    /// From the first request to the last answer.
    pub(super) duration: Duration,
}

/// Sends requests one by one, so that the server is ready.
///
/// # Errors
/// If one fails: the others would as well.
pub(super) async fn warm_up(
    client: &Client,
    requests: &[Planned],
    args: &Args,
    console: &Console,
) -> Result<(), Failure> {
    let n = args.load.num_warmups;
    if n > 0 {
        console.note(format_args!("warming up"));
    }
    for planned in requests.iter().cycle().take(n) {
        // Not a prompt of the run, which would then be cached.
        let (prompt, n_output) = (rotated(&planned.prompt), planned.n_output);
        let outcome = client.send(&Planned { prompt, n_output, at: None }, Instant::now()).await;
        if let Some(reason) = outcome.error {
            return Err(Failure::WarmUp { reason });
        }
    }
    Ok(())
}

/// The words of a text from its middle on, and then those before.
fn rotated(text: &str) -> String {
    let middle = text.ceil_char_boundary(text.len() / 2);
    let cut = text[middle..].find(' ').map_or(middle, |word| middle + word);
    format!("{}{}", &text[cut..], &text[..cut])
}

/// Runs all requests.
pub(super) async fn run(client: &Client, requests: &[Planned], args: &Args, console: &Console) -> Run {
    let times =
        arrivals::times(requests.len(), args.load.request_rate, args.load.burstiness, args.dataset.seed);
    let limit = args.load.max_concurrency.unwrap_or(Semaphore::MAX_PERMITS);
    let permits = Semaphore::new(limit);
    let progress = Progress::new(console, "requests", Unit::Count("requests"));
    let n_done = AtomicUsize::new(0);
    let started = Instant::now();
    let one = async |planned: &Planned, at: Duration| {
        tokio::time::sleep(planned.at.unwrap_or(at).saturating_sub(started.elapsed())).await;
        // It is never closed.
        let _permit = permits.acquire().await;
        let outcome = client.send(planned, started).await;
        progress.set(n_done.fetch_add(1, Ordering::Relaxed) as u64 + 1, requests.len() as u64);
        outcome
    };
    let outcomes = join_all(requests.iter().zip(&times).map(|(planned, at)| one(planned, *at))).await;
    Run { outcomes, duration: started.elapsed() }
}
