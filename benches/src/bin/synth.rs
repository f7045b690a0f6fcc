//! Writes a GGUF file of a real shape with random weights.
#![allow(clippy::print_stderr, reason = "a command line program reports failures there")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use sm_benches::synth::{self, SHAPES, Shape};
use sm_model::Mixture;

/// Writes a GGUF file of a real shape with random weights, for measuring speed.
#[derive(Debug, Parser)]
#[command(name = "synth")]
struct Args {
    /// The model whose dimensions to use.
    #[arg(long, default_value = "llama-1.1b", value_parser = PossibleValuesParser::new(SHAPES.map(|s| s.name)))]
    shape: String,
    /// A type of `sm quantize`, such as f16, q8_0 or q4_k_m.
    #[arg(long = "type", default_value = "q4_0")]
    dtype: String,
    /// Stores every matrix in that type, including the output matrix.
    #[arg(long)]
    pure: bool,
    /// The same seed gives the same file.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
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

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let shape = Shape::named(&args.shape).ok_or("unknown shape")?;
    let named = Mixture::named(&args.dtype)?;
    let mixture = if args.pure { Mixture::uniform(named.base()) } else { named };
    synth::write(&args.out, shape, mixture, args.seed)?;
    Ok(())
}
