//! `sm bench`: how many tokens per second a model reads and writes, in the shape of llama-bench.

mod case;
mod profile;
mod report;

use std::num::NonZeroUsize;
use std::time::Duration;

use sm_runtime::{Bench, Error, LoadOptions, LoadedModel};

use crate::args::ModelArgs;
use crate::commands::bench::case::{Case, Grid, Phase};
use crate::commands::bench::profile::Report;
use crate::commands::bench::report::{Form, Measurement, Reporter};
use crate::console::Console;
use crate::failure::Failure;

/// Measure tokens per second
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm bench -m model.gguf
  sm bench -m model.gguf -p 512,2048 -n 64 -d 0,1024 -t 1,2 -o jsonl
  sm bench -m model.gguf -p 0 -n 64 -b 1,4,8
  sm bench -m model.gguf --profile

Tests are named as by llama-bench: pp512 reads a prompt of 512 tokens, tg128 generates
128 tokens one by one, @d1024 starts behind 1024 tokens, @b8 runs 8 sequences at once
and counts the tokens of all. Tokens are random and not sampled. One repetition of
each test warms up and is not counted. With --profile, one more repetition of each test
shows how long each operation of a step takes, how fast it reads weights and keys and
computes, and what part of the machine's own speed that is: the same threads read all
weights, and multiply without memory, and the slower of both is the limit.")]
pub(crate) struct Args {
    /// Prompt lengths; 0 for none
    #[arg(short = 'p', long, value_name = "N,…", value_delimiter = ',', default_value = "512")]
    prompt: Vec<usize>,
    /// Numbers of tokens to generate; 0 for none
    #[arg(short, long, value_name = "N,…", value_delimiter = ',', default_value = "128")]
    n_tokens: Vec<usize>,
    /// Positions filled before the clock starts
    #[arg(short, long, value_name = "DEPTH,…", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Sequences that run at once
    #[arg(short = 'b', long, value_name = "SEQUENCES,…", value_delimiter = ',', default_value = "1")]
    sequences: Vec<NonZeroUsize>,
    /// Worker threads [default: one per core]
    #[arg(short, long, value_name = "N,…", value_delimiter = ',')]
    threads: Vec<NonZeroUsize>,
    /// Counted repetitions of each test
    #[arg(short, long, value_name = "REPS", default_value = "5")]
    reps: NonZeroUsize,
    /// Show where the time of a step goes
    #[arg(long)]
    profile: bool,
    /// The form of the output
    #[arg(short, long, value_name = "FORM", value_enum, default_value = "md")]
    output: Form,
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs every test with every number of threads.
///
/// # Errors
/// If the model cannot be loaded, a test does not fit into its context, or a step fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let depths = &args.depth;
    let sequences: Vec<usize> = args.sequences.iter().map(|n| n.get()).collect();
    let grid = Grid { prompt: &args.prompt, generate: &args.n_tokens, depths, sequences: &sequences };
    let cases = grid.cases();
    if args.profile && args.output == Form::Csv {
        return Err(Failure::Usage("--profile has no form in CSV; take -o md, json or jsonl".to_owned()));
    }
    let mut reporter = Reporter::new(console, args.output);
    for threads in args.thread_counts() {
        let mut model = args.load(&cases, threads, console)?;
        for case in &cases {
            let rates = args.rates(*case, &mut model, console)?;
            let profile = if args.profile { case.profile(&mut model)? } else { None };
            reporter.write(Measurement { profile, ..args.measurement(*case, &model, rates) })?;
        }
    }
    reporter.finish()
}

impl Args {
    /// The numbers of threads to try; `None` is one per core.
    fn thread_counts(&self) -> Vec<Option<usize>> {
        if self.threads.is_empty() {
            vec![None]
        } else {
            self.threads.iter().map(|n| Some(n.get())).collect()
        }
    }

    /// A model with room for every test.
    fn load(
        &self,
        cases: &[Case],
        n_threads: Option<usize>,
        console: &Console,
    ) -> Result<LoadedModel, Failure> {
        let n_sequences = cases.iter().map(|case| case.sequences).max().unwrap_or(1);
        let context_len = cases.iter().map(Case::context_len).max().unwrap_or(1);
        let options = LoadOptions {
            context_len: Some(context_len),
            n_threads,
            n_sequences,
            max_outputs: n_sequences,
            ..self.model.options()
        };
        self.model.load(&options, console)
    }

    /// Tokens per second of each counted repetition.
    fn rates(&self, case: Case, model: &mut LoadedModel, console: &Console) -> Result<Vec<f64>, Failure> {
        let mut bench = Bench::new(model);
        console.note(format_args!("{case}: warm-up, then {} counted", self.reps));
        case.time(&mut bench)?;
        let rate = |time: Duration| case.total_tokens() as f64 / time.as_secs_f64();
        (0..self.reps.get()).map(|_| Ok(rate(case.time(&mut bench)?))).collect()
    }

    fn measurement(&self, case: Case, model: &LoadedModel, samples: Vec<f64>) -> Measurement {
        let (mean, stddev) = mean_and_deviation(&samples);
        let info = model.info();
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
    fn time(&self, bench: &mut Bench<'_>) -> Result<Duration, Error> {
        match self.phase {
            Phase::Prompt => bench.prefill(self.n_tokens, self.depth, self.sequences),
            Phase::Generate => bench.decode(self.n_tokens, self.depth, self.sequences),
        }
    }

    /// Runs the test once more and shows where the time went.
    fn profile(&self, model: &mut LoadedModel) -> Result<Option<Report>, Error> {
        let profile = Bench::new(model).profile(|bench| self.time(bench))?;
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
