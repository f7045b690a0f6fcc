//! Simulates fleets of replicas behind a router on recorded traffic, and prints a table.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program reports on its terminal"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use sm_simulate::cost::StepCost;
use sm_simulate::fleet::{Fleet, SharedMachine};
use sm_simulate::replica::{PAGE_LEN, Settings};
use sm_simulate::report::Report;
use sm_simulate::router::{Policy, Thresholds};
use sm_simulate::scale::Scale;
use sm_simulate::trace::{self, BLOCK_LEN, Recorded};
use sm_simulate::workload::{Load, Workload};

/// Simulates replicas behind a router on recorded traffic: what N machines serve, and what routing by prefix is worth.
///
/// Scheduler and cache are the real ones; the time of a step comes from the figures of one machine: `sm bench -m MODEL
/// -p 16,64,256,512 -n 32 -b 1,2,4,8 -d 0,512 -o jsonl > figures.jsonl`.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Args {
    /// The trace: Mooncake's (JSON lines) or Azure's of 2023 (CSV).
    trace: PathBuf,
    /// Figures of one replica, as `sm bench -o jsonl` prints them.
    #[arg(long, value_name = "FILE", required_unless_present = "emit")]
    figures: Option<PathBuf>,
    /// Numbers of replicas.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,3,10,30,100,300,1000")]
    replicas: Vec<usize>,
    /// How requests are routed; may be repeated.
    #[arg(long, value_enum, default_value = "prefix")]
    router: Vec<Policy>,
    /// Requests for each replica.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    requests: usize,
    /// Requests in flight for each replica, while there are any.
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with = "rate")]
    in_flight: usize,
    /// Requests per second for each replica on average, at the trace's times, instead.
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// The divisor of lengths; divides 512 [default: 32 if the trace has blocks, else 8].
    #[arg(long, value_name = "N")]
    scale: Option<usize>,
    /// Context of the model.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    context: usize,
    /// Size of the model's vocabulary.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    vocabulary: usize,
    /// Sequences of a replica that run at a time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    parallel: usize,
    /// Positions in the cache of a replica, as `/server_info` has it (max_total_num_tokens).
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    cache_tokens: usize,
    /// Time of a request outside of steps, in µs: HTTP, tokenizing, the router.
    #[arg(long, value_name = "US", default_value_t = 1000.0)]
    request_us: f64,
    /// Requests per second that one replica was measured to serve, with as many in flight. Steps take longer than in `sm bench` by
    /// what that says: tokens are sampled, and texts sent.
    #[arg(long, value_name = "RATE", conflicts_with = "rate")]
    measured: Option<f64>,
    /// Cores of the machine that all replicas share [default: each has its own machine].
    #[arg(long, value_name = "N", requires = "cores_per_replica")]
    shared_cores: Option<f64>,
    /// Cores that a busy replica takes, with its share of router and clients.
    #[arg(long, value_name = "N", requires = "shared_cores")]
    cores_per_replica: Option<f64>,
    /// Requests above the mean from which on a replica is too busy for a request whose prefix it has.
    #[arg(long, value_name = "N", default_value_t = Thresholds::default().balance_abs)]
    balance_abs: u32,
    /// Factor above the mean from which on it is, if it exceeds both.
    #[arg(long, value_name = "FACTOR", default_value_t = Thresholds::default().balance_rel)]
    balance_rel: f64,
    /// Share of a prompt that must be known for it to prefer a replica.
    #[arg(long, value_name = "SHARE", default_value_t = Thresholds::default().cache)]
    cache_threshold: f64,
    /// Price of a replica per hour.
    #[arg(long, value_name = "PRICE", default_value_t = 1.0)]
    price: f64,
    /// Print a JSON object for each run instead of a table.
    #[arg(long)]
    json: bool,
    /// Write the requests of the first run to FILE, as JSON lines for a real run, and simulate nothing.
    #[arg(long, value_name = "FILE")]
    emit: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn run(args: &Args) -> Outcome {
    check(args)?;
    let recorded = trace::read(&args.trace)?;
    if recorded.is_empty() {
        return Err(format!("{} has no requests", args.trace.display()).into());
    }
    if let Some(path) = &args.emit {
        return emit(&workload(args, &recorded, args.replicas[0]), path);
    }
    let figures = args.figures.as_deref().unwrap_or(Path::new(""));
    let figures =
        std::fs::read_to_string(figures).map_err(|error| format!("{}: {error}", figures.display()))?;
    let cost = StepCost::parse(&figures)?;
    let factor = args.measured.map_or(Ok(1.0), |rate| overhead(args, &recorded, &cost, rate))?;
    let cost = cost.times(factor);
    if !args.json {
        println!("{}", Report::HEADING);
    }
    for &n_replicas in &args.replicas {
        for &policy in &args.router {
            let fleet = fleet(args, n_replicas, policy, cost.clone());
            let report = fleet.serve(&workload(args, &recorded, n_replicas), load(args))?;
            if args.json {
                let mut line = serde_json::to_value(&report)?;
                line["requests_per_second"] = json!(report.requests_per_second());
                line["hit_rate"] = json!(report.hit_rate());
                line["step_factor"] = json!(factor);
                println!("{line}");
            } else {
                println!("{}", report.row(args.price));
            }
        }
    }
    Ok(())
}

fn check(args: &Args) -> Outcome {
    let positive = [
        ("--replicas", args.replicas.iter().copied().min().unwrap_or_default()),
        ("--requests", args.requests),
        ("--in-flight", args.in_flight),
        ("--context", args.context),
        ("--vocabulary", args.vocabulary),
    ];
    if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
        return Err(format!("{name} must be at least 1").into());
    }
    if args.scale.is_some_and(|scale| scale == 0 || !BLOCK_LEN.is_multiple_of(scale)) {
        return Err(format!("--scale must divide {BLOCK_LEN}").into());
    }
    if args.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err("--rate must be more than 0".into());
    }
    Ok(())
}

fn load(args: &Args) -> Load {
    args.rate.map_or(Load::InFlight(args.in_flight), Load::PerSecond)
}

fn workload<'a>(args: &Args, recorded: &'a [Recorded], n_replicas: usize) -> Workload<'a> {
    let scale = Scale {
        lengths: args.scale.unwrap_or_else(|| Scale::usual_divisor(recorded)),
        speed: 1.0,
        context_len: args.context,
        vocab_size: args.vocabulary,
        n_keys: 1,
    };
    Workload::new(recorded, scale, n_replicas, args.requests * n_replicas, load(args))
}

fn fleet(args: &Args, n_replicas: usize, policy: Policy, cost: StepCost) -> Fleet {
    let settings = Settings {
        parallel: args.parallel,
        max_step_tokens: 512,
        n_pages: args.cache_tokens.div_ceil(PAGE_LEN),
    };
    let thresholds = Thresholds {
        balance_abs: args.balance_abs,
        balance_rel: args.balance_rel,
        cache: args.cache_threshold,
    };
    let shared = args.shared_cores.zip(args.cores_per_replica);
    let shared = shared.map(|(n_cores, cores_per_replica)| SharedMachine { n_cores, cores_per_replica });
    Fleet { n_replicas, settings, policy, thresholds, cost, request_us: args.request_us, shared }
}

/// The factor by which steps take longer than in `sm bench` if one replica serves `rate` requests per second.
fn overhead(args: &Args, recorded: &[Recorded], cost: &StepCost, rate: f64) -> Outcome<f64> {
    let workload = workload(args, recorded, 1);
    // Throughput falls as steps take longer, so bisection finds it.
    let (mut low, mut high) = (0.1, 10.0);
    for _ in 0..20 {
        let middle = f64::midpoint(low, high);
        let one = Fleet { shared: None, ..fleet(args, 1, Policy::RoundRobin, cost.times(middle)) };
        let served = one.serve(&workload, load(args))?.requests_per_second();
        if served > rate { low = middle } else { high = middle }
    }
    Ok(low)
}

/// Writes the requests of a workload as JSON lines.
fn emit(workload: &Workload<'_>, path: &Path) -> Outcome {
    let file = std::fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut file = std::io::BufWriter::new(file);
    for index in 0..workload.len() {
        let (prompt, n_output) = workload.request(index);
        let ids: Vec<u32> = prompt.iter().map(|token| token.0).collect();
        let at_ms = workload.at_us(index) as f64 / 1e3;
        writeln!(file, "{}", json!({"prompt": ids, "max_tokens": n_output, "at_ms": at_ms}))?;
    }
    Ok(file.flush()?)
}
