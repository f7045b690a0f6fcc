//! `sm bench`: tokens per second, with the tests of llama-bench.

mod case;
mod profile;
mod report;
mod serve;

use std::num::NonZeroUsize;
use std::time::Duration;

use sm_runtime::{Bench, Error, Threads};

use crate::args::ModelArgs;
use crate::console::Console;
use crate::failure::Failure;
use case::{Case, Grid, Phase};
use profile::Report;
use report::{Format, Measurement, Reporter};

/// Measure tokens per second
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  sm bench -m model.gguf
  sm bench -m model.gguf -p 512,2048 -n 64 -d 0,1024 -t 1,2 -o jsonl
  sm bench -m model.gguf -p 0 -n 64 -b 1,4,8
  sm bench -m model.gguf --profile
  sm bench serve --port 8000

Tests have the names of llama-bench: pp512 processes a prompt of 512 tokens, tg128 generates 128 tokens
one at a time, @d1024 starts at depth 1024, @b8 runs 8 sequences at once and counts the tokens of all.
Tokens are random and not sampled. One repetition of each test is a warm-up and not counted.

--profile runs each test once more and shows, for each operation of a step, the time, the memory bandwidth,
the arithmetic throughput, and the fraction of the limit: the least time that the same threads need to read
the same bytes or to compute the same products, whichever is longer."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Prompt lengths; 0 skips the test
    #[arg(short = 'p', long, value_name = "N,…", value_delimiter = ',', default_value = "512")]
    prompt: Vec<usize>,
    /// Numbers of tokens to generate; 0 skips the test
    #[arg(short, long, value_name = "N,…", value_delimiter = ',', default_value = "128")]
    n_tokens: Vec<usize>,
    /// Positions filled before timing starts
    #[arg(short, long, value_name = "DEPTH,…", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Sequences to run at once
    #[arg(short = 'b', long, value_name = "SEQUENCES,…", value_delimiter = ',', default_value = "1")]
    sequences: Vec<NonZeroUsize>,
    /// Worker threads, at most one per processor; N! forces exactly N [default: one per core]
    #[arg(short, long, value_name = "N,…", value_delimiter = ',')]
    threads: Vec<Threads>,
    /// Counted repetitions of each test
    #[arg(short, long, value_name = "REPS", default_value = "5")]
    reps: NonZeroUsize,
    /// Show the time of each operation of a step
    #[arg(long)]
    profile: bool,
    /// Output format
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "md")]
    output: Format,
    #[command(flatten)]
    model: ModelArgs,
}

/// What else can be measured.
#[derive(Debug, clap::Subcommand)]
enum What {
    #[allow(missing_docs, reason = "the help is that of the Args")]
    Serve(Box<serve::Args>),
}

/// Runs every test with every number of threads.
///
/// # Errors
/// If the model cannot be loaded, a test does not fit into its context, or a step fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    if let Some(What::Serve(args)) = &args.what {
        return serve::run(args, console);
    }
    let depths = &args.depth;
    let sequences: Vec<usize> = args.sequences.iter().map(|n| n.get()).collect();
    let grid = Grid { prompt: &args.prompt, generate: &args.n_tokens, depths, sequences: &sequences };
    let cases = grid.cases();
    if args.profile && args.output == Format::Csv {
        return Err(Failure::Usage("--profile is not available in CSV; use -o md, json or jsonl".to_owned()));
    }
    let mut reporter = Reporter::new(console, args.output);
    for threads in args.thread_counts() {
        let mut bench = args.load(&cases, threads, console)?;
        for case in &cases {
            bench.reset();
            let rates = args.rates(*case, &mut bench, console)?;
            let profile = if args.profile { case.profile(&mut bench)? } else { None };
            reporter.write(Measurement { profile, ..args.measurement(*case, &bench, rates) })?;
        }
    }
    reporter.finish()
}

impl Args {
    /// The numbers of threads to test; `None` is one per core.
    fn thread_counts(&self) -> Vec<Option<Threads>> {
        if self.threads.is_empty() { vec![None] } else { self.threads.iter().copied().map(Some).collect() }
    }

    /// A bench with room for every test.
    fn load(&self, cases: &[Case], threads: Option<Threads>, console: &Console) -> Result<Bench, Failure> {
        let n_sequences = cases.iter().map(|case| case.sequences).max().unwrap_or(1);
        let context_len = cases.iter().map(Case::context_len).max().unwrap_or(1);
        let options = self.model.options(threads)?.context_len(context_len);
        let executor = self.model.executor().n_sequences(n_sequences).max_outputs(n_sequences);
        let model = self.model.load(options, executor.clone(), console)?;
        Ok(Bench::new(&model, &executor)?)
    }

    /// Tokens per second of each counted repetition.
    fn rates(&self, case: Case, bench: &mut Bench, console: &Console) -> Result<Vec<f64>, Failure> {
        console.note(format_args!("{case}: warm-up, then {} repetitions", self.reps));
        case.time(bench)?;
        let rate = |time: Duration| case.total_tokens() as f64 / time.as_secs_f64();
        (0..self.reps.get()).map(|_| Ok(rate(case.time(bench)?))).collect()
    }

    fn measurement(&self, case: Case, bench: &Bench, samples: Vec<f64>) -> Measurement {
        let (mean, stddev) = mean_and_deviation(&samples);
        let info = bench.info();
        Measurement {
            test: case.to_string(),
            threads: info.n_workers,
            sequences: case.sequences,
            tokens_per_second: mean,
            stddev,
            reps: samples.len(),
            model: self.model.name(),
            weight_bytes: info.weight_bytes,
            kernels: info.kernels.clone(),
            tokens: case.n_tokens,
            depth: case.depth,
            samples,
            profile: None,
        }
    }
}

impl Case {
    /// Runs the test once.
    fn time(&self, bench: &mut Bench) -> Result<Duration, Error> {
        match self.phase {
            Phase::Prompt => bench.prefill(self.n_tokens, self.depth, self.sequences),
            Phase::Generate => bench.decode(self.n_tokens, self.depth, self.sequences),
        }
    }

    /// Runs the test once more, profiled.
    fn profile(&self, bench: &mut Bench) -> Result<Option<Report>, Error> {
        let profile = bench.profile(|bench| self.time(bench))?;
        Ok(profile.as_ref().map(Report::new))
    }
}

/// The mean and the sample standard deviation, which is 0 for one sample.
fn mean_and_deviation(samples: &[f64]) -> (f64, f64) {
    let mean = samples.iter().sum::<f64>() / samples.len() as f64;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    let degrees = samples.len().saturating_sub(1).max(1);
    (mean, (squares / degrees as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviation_is_of_the_sample() {
        assert_eq!(mean_and_deviation(&[2.0, 4.0]), (3.0, 2.0_f64.sqrt()));
        assert_eq!(mean_and_deviation(&[5.0]), (5.0, 0.0));
    }
}
