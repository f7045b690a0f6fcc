//! `sm perplexity`: measures perplexity on a text.

use std::path::PathBuf;

use serde::Serialize;
use sm_runtime::{Generator, Perplexity, PerplexityOptions};

use crate::args::LoadArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::progress::{Progress, Unit};
use crate::prompt::read_file;

/// Measure how well a model predicts a text
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm perplexity -m model.gguf wiki.test.txt
  sm perplexity -m model.gguf stories.txt --split '<|endoftext|>' --max-tokens 100000 --json

Without --split, the text is scored in pieces as long as the context. With it, each document starts a new
context and is truncated to its length.")]
pub(crate) struct Args {
    /// Text file, UTF-8
    file: PathBuf,
    /// Split the text into documents at STR
    #[arg(long, value_name = "STR")]
    split: Option<String>,
    /// Stop after N scored tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    perplexity: f64,
    nll: f64,
    tokens: usize,
    documents: usize,
}

/// Measures and prints.
///
/// # Errors
/// If the text or the model cannot be read, the text is too short, or a step fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let text = read_file(&args.file)?;
    // Every position is scored, so every row needs logits.
    let executor = args.load.executor();
    let max_outputs = executor.max_step_tokens;
    let executor = executor.max_outputs(max_outputs);
    let model = args.load.model.load(args.load.options()?, executor.clone(), console)?;
    let mut generator = Generator::with_executor(model, &executor)?;
    let bar = Progress::new(console, "scoring", Unit::Count("tokens"));
    let mut cut = PerplexityOptions::new();
    cut.split.clone_from(&args.split);
    cut.max_tokens = args.max_tokens;
    let measured =
        Perplexity::measure(&mut generator, &text, &cut, &mut |n_tokens| bar.set_open(n_tokens as u64))?;
    drop(bar);
    let Perplexity { perplexity, nll, tokens, documents, .. } = measured;
    if args.json {
        return console.json(&Report { perplexity, nll, tokens, documents });
    }
    console.line(format_args!(
        "perplexity {perplexity:.5} (nll {nll:.6}, {tokens} tokens, {documents} documents)"
    ))
}
