//! Runs the experiments of the original documents and prints the results next to their claims.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program reports on its terminal"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use sm_benches::experiments::{
    ExperimentError, Finding, Goal, batching, busy, concurrency, first_request, first_token, kv_cache,
    latency, memory, overhead, sessions, speculation, streaming, threads, waiting,
};
use sm_benches::peers::machine;
use sm_runtime::ModelRef;

/// Runs the experiments of SmallMind's original documents, and prints the results next to their claims.
#[derive(Debug, Parser)]
#[command(name = "experiments")]
struct Args {
    /// Which experiments [default: all]
    #[arg(value_enum)]
    experiments: Vec<Experiment>,
    /// Counted repetitions; results are medians
    #[arg(long, value_name = "N", default_value_t = 5)]
    reps: usize,
    /// Run llama.cpp too, in `busy` (`cargo xtask setup --peers` installs it)
    #[arg(long)]
    peers: bool,
    /// The model of `batching-large` [default: 1.1 billion random weights in Q4_0, written and removed afterwards]
    #[arg(long, value_name = "MODEL")]
    large: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Experiment {
    /// Generation with and without the KV cache
    KvCache,
    /// Eight requests batched and one at a time, on small models
    Batching,
    /// The same on a model larger than the CPU caches
    BatchingLarge,
    /// Beside other processes, and on one processor
    Busy,
    /// A hundred requests from 1, 4 and 8 callers
    Concurrency,
    /// The same requests on 1 thread up to the number of cores
    Threads,
    /// Latency with and without batching
    Latency,
    /// The first token by model and prompt
    FirstToken,
    /// The first request after loading
    FirstRequest,
    /// Second turns of conversations
    Sessions,
    /// Bytes of weights, keys and values
    Memory,
    /// Engine overhead per step
    Overhead,
    /// Speculative decoding, by kind of prompt
    Speculation,
    /// Streaming versus the whole answer at once
    Streaming,
    /// Waiting for more requests before starting a batch
    Waiting,
}

impl Experiment {
    fn run(self, args: &Args) -> Result<Vec<Finding>, ExperimentError> {
        match self {
            Self::KvCache => kv_cache::run(args.reps),
            Self::Batching => batching::run_small(args.reps),
            Self::BatchingLarge => {
                batching::run_large(args.large.as_deref().map(ModelRef::named).as_ref(), args.reps)
            }
            Self::Busy => busy::run(args.reps, args.peers),
            Self::Concurrency => concurrency::run(args.reps),
            Self::Threads => threads::run(args.reps),
            Self::Latency => latency::run(args.reps),
            Self::FirstToken => first_token::run(args.reps),
            Self::FirstRequest => first_request::run(args.reps),
            Self::Sessions => sessions::run(args.reps),
            Self::Memory => memory::run(),
            Self::Overhead => overhead::run(args.reps),
            Self::Speculation => speculation::run(args.reps),
            Self::Streaming => streaming::run(args.reps),
            Self::Waiting => waiting::run(args.reps),
        }
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|argument| argument == busy::SPIN) {
        busy::spin();
    }
    let args = Args::parse();
    let chosen =
        if args.experiments.is_empty() { Experiment::value_variants() } else { &args.experiments[..] };
    println!(
        "{}\nMedians of {} turns (several times as many where one takes but milliseconds), after one that warms up and does \
         not count\n",
        machine(),
        args.reps
    );
    let mut missed = Vec::new();
    for experiment in chosen {
        match experiment.run(&args) {
            Ok(findings) => {
                findings.iter().for_each(|finding| println!("{finding}\n"));
                let is_missed = |finding: &Finding| finding.goals.iter().any(Goal::is_missed);
                missed.extend(findings.into_iter().filter(is_missed).map(|finding| finding.what));
            }
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: goals missed by more than the margin: {}", missed.join("; "));
    ExitCode::FAILURE
}
