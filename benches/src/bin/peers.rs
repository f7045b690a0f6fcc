//! Prints the table of acceptance: this engine beside others.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program reports on its terminal"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use sm_benches::peers::{
    HEADING, Options, PEERS, PeersError, Saved, SavedCell, cells, first_token, machine, measure, row,
};
use sm_benches::summary::Summary;
use sm_kernels::IsaKind;

/// Measures this engine beside others, in turns, and prints the ratios.
#[derive(Debug, Parser)]
#[command(name = "peers")]
struct Args {
    /// Only cells whose names hold all of these words, as "llama-1.1b q4_0 tg64"
    #[arg(long, value_name = "WORDS")]
    cells: Option<String>,
    /// Counted repetitions of each engine in each cell
    #[arg(long, value_name = "N", default_value_t = 5)]
    reps: usize,
    /// Shorter tests, to see that everything runs; the figures are not those of the full tests
    #[arg(long)]
    quick: bool,
    /// The other engines
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_values = PEERS, value_parser = PossibleValuesParser::new(PEERS))]
    engines: Vec<String>,
    /// Measures this engine alone
    #[arg(long)]
    alone: bool,
    /// Threads of each engine [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The kernel set of this engine, as of `sm bench --isa`
    #[arg(long, value_name = "NAME", default_value = "default")]
    isa: String,
    /// Keeps the random models in this folder, some gigabytes, and uses those that are there
    #[arg(long, value_name = "FOLDER")]
    models: Option<PathBuf>,
    /// Adds the figures to this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compares with the figures of this file, relative to kernels that tell how fast the machine is just now; fails where
    /// one has become worse
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// How much worse a figure may become for --check, as a fraction
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    tolerance: f64,
}

/// The cell of the program that starts.
const FIRST_TOKEN: &str = "demo first-token";
/// Its goal in milliseconds.
const FIRST_TOKEN_MS: f64 = 60.0;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(complaints) => {
            complaints.iter().for_each(|complaint| eprintln!("error: {complaint}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Gives what is wrong with the figures.
fn run(args: &Args) -> Result<Vec<String>, PeersError> {
    let before = args.check.as_deref().map(Saved::read).transpose()?;
    let wanted = |name: &str| {
        let words = args.cells.as_deref().unwrap_or_default();
        words.split_whitespace().all(|word| name.split_whitespace().any(|part| part == word))
    };
    let has_wide = match args.isa.as_str() {
        "default" => IsaKind::best() == IsaKind::Avx512Vnni,
        name => name == IsaKind::Avx512Vnni.name(),
    };
    let chosen: Vec<_> =
        cells(args.quick, has_wide).into_iter().filter(|cell| wanted(&cell.to_string())).collect();
    let options = Options {
        reps: args.reps.max(1),
        n_threads: args
            .threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        isa: args.isa.clone(),
        peers: if args.alone { Vec::new() } else { args.engines.clone() },
        models: args.models.clone(),
    };
    println!("{}; {} threads, {} repetitions\n\n{HEADING}", machine(), options.n_threads, options.reps);
    let mut figures = BTreeMap::new();
    let mut complaints = Vec::new();
    measure(&chosen, &options, &mut |measurement| {
        println!("{}", row(&measurement));
        match SavedCell::of(&measurement) {
            Some(cell) => drop(figures.insert(measurement.cell.to_string(), cell)),
            None => complaints.push(format!("{} has no figure", measurement.cell)),
        }
    })?;
    if wanted(FIRST_TOKEN) {
        match start(options.reps) {
            Ok(cell) => drop(figures.insert(FIRST_TOKEN.to_owned(), cell)),
            Err(error) => complaints.push(error),
        }
    }
    if figures.is_empty() {
        complaints
            .push("nothing was measured; the words of --cells have to be words of a cell's name".to_owned());
    }
    let now = Saved { machine: machine(), cells: figures };
    if let Some(path) = &args.save {
        now.add_to(path)?;
    }
    if let Some(before) = &before {
        let (n_both, worse) = now.check(before, args.tolerance);
        println!("\n{n_both} cells compared, {} became worse", worse.len());
        complaints.extend(worse);
    }
    Ok(complaints)
}

/// Prints how soon the program shows text.
fn start(reps: usize) -> Result<SavedCell, String> {
    let summary = Summary::of(first_token(reps)?);
    let verdict = if summary.p50 < FIRST_TOKEN_MS { "met" } else { "missed" };
    println!("\nfirst token of `sm generate`, from the start of the process, in ms: {summary}");
    println!("goal: a median below {FIRST_TOKEN_MS:.0} ms, {verdict}");
    Ok(SavedCell {
        cost: summary.p50 / 1e3,
        relative: summary.p50 / 1e3,
        peers: BTreeMap::new(),
        ratios: BTreeMap::new(),
    })
}
