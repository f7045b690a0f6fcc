//! Replays recorded traffic on the engine with the demo model.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program reports on its terminal"
)]

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use sm_benches::replay::drive::drive;
use sm_benches::replay::report::Report;
use sm_benches::replay::scale::Scale;
use sm_benches::replay::trace::{self, BLOCK_LEN};
use sm_benches::replay::verify::verify;
use sm_runtime::{
    BatchingConfig, Device, Engine, EngineConfig, KvCacheConfig, LoadOptions, ModelRef, QueueOrder,
};

/// Replays a trace of recorded traffic on the engine with the demo model: Mooncake's (JSON lines) or Azure's of 2023 (CSV).
///
/// Prompts share prefixes as in the trace, and outputs have the recorded length, scaled. Requests are compared with solo
/// runs of the same prompt. The replay fails if a request is lost, fails, or gets different tokens.
#[derive(Debug, Parser)]
#[command(name = "replay")]
struct Args {
    /// The trace.
    trace: PathBuf,
    /// The divisor of lengths; divides 512 [default: 32 if the trace has blocks, so that a block of 512 tokens becomes a page of
    /// 16, else 8].
    #[arg(long, value_name = "N")]
    scale: Option<NonZeroUsize>,
    /// Speed-up of the arrival rate over the recording.
    #[arg(long, value_name = "FACTOR", default_value_t = 3.0)]
    speed: f64,
    /// The number of requests; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    requests: usize,
    /// The number of requests to skip before them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: usize,
    /// The number of callers: half of the requests are the first's, a quarter the second's, and so on.
    #[arg(long, value_name = "N", default_value_t = 4)]
    keys: u64,
    /// The service order.
    #[arg(long, value_enum, default_value_t = Order::Priority)]
    order: Order,
    /// Maximum concurrent sequences.
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
    /// Memory of the cache, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    cache_mib: u64,
    /// Worker threads [default: one per core].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Compare every request with a solo run, instead of one in twenty.
    #[arg(long)]
    verify: bool,
    /// Write the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// The oldest request
    Fifo,
    /// The oldest request of the least served caller
    RoundRobin,
    /// By priority, aged by waiting; then as fair
    Priority,
}

/// Without `--verify`, one in this many requests is compared with a solo run.
const STRIDE: usize = 20;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: a request was lost, failed, or got different tokens than alone");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<bool, Box<dyn std::error::Error>> {
    let recorded = trace::read(&args.trace)?;
    let n_requests = if args.requests == 0 { usize::MAX } else { args.requests };
    let recorded: Vec<_> = recorded.into_iter().skip(args.skip).take(n_requests).collect();
    let lengths = args.scale.map_or_else(|| Scale::usual_divisor(&recorded), NonZeroUsize::get);
    let is_speed = args.speed.is_finite() && args.speed > 0.0;
    if !is_speed || !BLOCK_LEN.is_multiple_of(lengths) {
        return Err(format!("--scale must divide {BLOCK_LEN} and --speed be more than 0").into());
    }
    let engine = Engine::builder().config(config(args)).load(ModelRef::Demo)?;
    let vocab_size = engine.tokenizer().map_or(1, |tokenizer| tokenizer.vocabulary().vocab_size());
    let speed = args.speed;
    let context_len = engine.context_len();
    let n_keys = args.keys;
    let requests = Scale { lengths, speed, context_len, vocab_size, n_keys }.apply(&recorded);
    // The replay starts with the first request not skipped.
    let begin = requests.first().map(|first| first.at).unwrap_or_default();
    let requests: Vec<_> = requests
        .into_iter()
        .map(|mut scaled| {
            scaled.at -= begin;
            scaled
        })
        .collect();
    let outcomes = drive(&engine, &requests);
    let stats = engine.stats();
    let verified = verify(&requests, &outcomes, if args.verify { 1 } else { STRIDE }, args.threads)?;
    let report = Report::new(&recorded, &requests, &outcomes, verified, &stats);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        let info = engine.info();
        let name = args.trace.file_name().unwrap_or_default().to_string_lossy();
        println!("trace         {name}: lengths / {lengths}, {speed} times as fast");
        println!(
            "engine        {}, {} workers, {} sequences at a time",
            info.kernels, info.n_workers, args.batch
        );
        println!("{report}");
    }
    Ok(report.is_sound())
}

fn config(args: &Args) -> EngineConfig {
    EngineConfig::new()
        .load(LoadOptions::new().device(Device::Cpu { isa: None, threads: args.threads }))
        .batching(
            BatchingConfig::new()
                .max_batch_size(args.batch)
                .order(match args.order {
                    Order::Fifo => QueueOrder::Fifo,
                    Order::RoundRobin => QueueOrder::RoundRobin,
                    Order::Priority => QueueOrder::Priority,
                })
                // A replay never rejects a request.
                .max_queued_requests(usize::MAX),
        )
        .cache(KvCacheConfig::new().max_bytes_total(args.cache_mib << 20))
}
