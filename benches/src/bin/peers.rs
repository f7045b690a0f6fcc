//! Prints the acceptance table: this engine compared with others.
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
    Cell, Change, HEADING, Measurement, Options, PEERS, PeersError, Ratio, Saved, SavedCell, baseline_ratio,
    cells, first_token, machine, measure, program, ratios_in_short, row, sibling,
};
use sm_benches::summary::Summary;
use sm_kernels::IsaKind;

/// Measures this engine and others, interleaved, and prints the ratios.
#[derive(Debug, Parser)]
#[command(name = "peers")]
struct Args {
    /// Only cells whose names contain all of these words, such as "llama-1.1b q4_0 tg64"
    #[arg(long, value_name = "WORDS")]
    cells: Option<String>,
    /// Counted repetitions of each engine in each cell
    #[arg(long, value_name = "N", default_value_t = 5)]
    reps: usize,
    /// Shorter tests, to check that everything runs; results are not comparable with the full tests
    #[arg(long)]
    quick: bool,
    /// The other engines
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_values = PEERS, value_parser = PossibleValuesParser::new(PEERS))]
    engines: Vec<String>,
    /// Measure this engine alone
    #[arg(long)]
    alone: bool,
    /// Measure only this engine, interleaved with the build in this folder (its programs `driver` and `sm`); fail if a cell
    /// is worse by more than --tolerance
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
    /// Threads of each engine [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The kernel set of this engine, as in `sm bench --isa`
    #[arg(long, value_name = "NAME", default_value = "default")]
    isa: String,
    /// Keep the random models in this folder (gigabytes) and reuse existing ones
    #[arg(long, value_name = "FOLDER")]
    models: Option<PathBuf>,
    /// Add the results to this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with the results in this file, relative to calibration kernels; fail if a cell is worse by more than
    /// --tolerance
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// How much worse a cell may be for --check and --against, as a fraction
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    tolerance: f64,
}

/// The cell of the time to the first token of `sm`.
const FIRST_TOKEN: &str = "demo first-token";
/// Its target in milliseconds.
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

/// Returns complaints about the results.
fn run(args: &Args) -> Result<Vec<String>, PeersError> {
    let before = args.check.as_deref().map(Saved::read).transpose()?;
    let options = args.options();
    println!("{}; {} threads, {} repetitions\n\n{HEADING}", machine(), options.n_threads, options.reps);
    let mut figures = Figures::default();
    measure(&args.chosen_cells(), &options, &mut |measurement| {
        println!("{}", row(&measurement));
        figures.add(&measurement, args.least_ratio());
    })?;
    if args.wants(FIRST_TOKEN) {
        figures.add_start(&options, args.least_ratio());
    }
    let Figures { cells, ratios, mut complaints } = figures;
    if cells.is_empty() {
        complaints.push("nothing was measured: no cell's name contains all words of --cells".to_owned());
    }
    if let Some(ratios) = ratios_in_short(&ratios) {
        println!("\nversus the baseline: {ratios}");
    }
    let now = Saved { machine: machine(), cells };
    if let Some(path) = &args.save {
        now.add_to(path)?;
    }
    if let Some(before) = &before {
        let changes = now.changes_since(before);
        println!("\n{}", Change::HEADING);
        changes.iter().for_each(|change| println!("{change}"));
        complaints.extend(changes.iter().filter_map(|change| change.complaint(args.tolerance)));
    }
    Ok(complaints)
}

impl Args {
    /// Whether to measure the cell of this name.
    fn wants(&self, name: &str) -> bool {
        let words = self.cells.as_deref().unwrap_or_default();
        words.split_whitespace().all(|word| name.split_whitespace().any(|part| part == word))
    }

    fn chosen_cells(&self) -> Vec<Cell> {
        let has_wide = match self.isa.as_str() {
            "default" => IsaKind::best() == IsaKind::Avx512Vnni,
            name => name == IsaKind::Avx512Vnni.name(),
        };
        let chosen = cells(self.quick, has_wide).into_iter().filter(|cell| self.wants(&cell.to_string()));
        match self.against {
            Some(_) => chosen.map(|cell| cell.against_baseline(self.least_ratio())).collect(),
            None => chosen.collect(),
        }
    }

    fn options(&self) -> Options {
        let is_alone = self.alone || self.against.is_some();
        let n_cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            reps: self.reps.max(1),
            n_threads: self.threads.unwrap_or_else(n_cores),
            isa: self.isa.clone(),
            baseline: self.against.clone(),
            peers: if is_alone { Vec::new() } else { self.engines.clone() },
            models: self.models.clone(),
        }
    }

    /// The minimum acceptable ratio to another build.
    fn least_ratio(&self) -> f64 {
        1.0 / (1.0 + self.tolerance)
    }
}

/// The results of a run.
#[derive(Default)]
struct Figures {
    cells: BTreeMap<String, SavedCell>,
    /// The ratios of cells to another build of this engine.
    ratios: Vec<(String, Ratio)>,
    complaints: Vec<String>,
}

impl Figures {
    fn add(&mut self, measurement: &Measurement, least_ratio: f64) {
        let name = measurement.cell.to_string();
        if let Some(ratio) = baseline_ratio(measurement) {
            self.add_ratio(&name, ratio, least_ratio);
        }
        let Some(cell) = SavedCell::of(measurement) else {
            return self.complaints.push(format!("{name} has no result"));
        };
        self.cells.insert(name, cell);
    }

    fn add_ratio(&mut self, name: &str, ratio: Ratio, least_ratio: f64) {
        if ratio.median < least_ratio {
            self.complaints.push(format!("{name} is {:.2} times as fast as the baseline", ratio.median));
        }
        self.ratios.push((name.to_owned(), ratio));
    }

    /// Measures the time to the first token of `sm`.
    fn add_start(&mut self, options: &Options, least_ratio: f64) {
        let baseline = options.baseline.iter().map(|folder| program(folder, "sm"));
        let programs: Vec<PathBuf> = [sibling("sm")].into_iter().chain(baseline).collect();
        let times = match first_token(&programs, options.reps) {
            Ok(times) => times,
            Err(error) => return self.complaints.push(error),
        };
        let summary = Summary::of(times[0].clone());
        let verdict = if summary.p50 < FIRST_TOKEN_MS { "met" } else { "missed" };
        println!("\nfirst token of `sm generate`, from the start of the process, in ms: {summary}");
        println!("goal: a median below {FIRST_TOKEN_MS:.0} ms, {verdict}");
        if let Some(baseline) = times.get(1) {
            let ratio =
                Ratio::of(baseline.iter().zip(&times[0]).map(|(theirs, ours)| theirs / ours).collect());
            println!("the baseline: {}\nratio: {ratio}", Summary::of(baseline.clone()));
            self.add_ratio(FIRST_TOKEN, ratio, least_ratio);
        }
        let seconds = summary.p50 / 1e3;
        let cell =
            SavedCell { cost: seconds, relative: seconds, peers: BTreeMap::new(), ratios: BTreeMap::new() };
        self.cells.insert(FIRST_TOKEN.to_owned(), cell);
    }
}
