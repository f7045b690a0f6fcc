//! `sm perplexity`: how well a model predicts a text.

use std::path::PathBuf;

use serde::Serialize;
use sm_runtime::{Generator, LoadOptions, Perplexity, PerplexityOptions};

use crate::args::EngineArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::progress::{Progress, Unit};
use crate::prompt::utf8;

/// Measure how well a model predicts a text
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm perplexity -m model.gguf wiki.test.txt
  sm perplexity -m model.gguf stories.txt --split '<|endoftext|>' --max-tokens 100000 --json

Without --split the text is read in pieces as long as the context; with it, each document is read from the
beginning of the context and cut at its end, and what follows the last separator is dropped.")]
pub(crate) struct Args {
    /// The text, UTF-8
    file: PathBuf,
    /// Separates documents
    #[arg(long, value_name = "STR")]
    split: Option<String>,
    /// Stop after N predicted tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The result in machine-readable form.
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
    let bytes = std::fs::read(&args.file).map_err(Failure::file("read", &args.file))?;
    let text = utf8(bytes, || args.file.display().to_string())?;
    // Every position of a chunk is scored, so every row needs its logits.
    let defaults = LoadOptions::default();
    let options = LoadOptions { max_outputs: defaults.max_step_tokens, ..args.engine.options() };
    let mut generator = Generator::new(args.engine.model.load(&options, console)?);
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
