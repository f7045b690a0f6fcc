//! The command `sm`: runs language models on this machine, and measures and converts them.
//!
//! ```sh
//! sm generate "Once upon a time"            # the demo model, no download
//! sm chat -m Qwen3-0.6B-Q8_0.gguf           # a GGUF file or a Hugging Face directory
//! sm batch -m MODEL in.jsonl out.jsonl      # many requests at a time
//! sm quantize MODEL model.gguf --type q4_k  # a GGUF file that llama.cpp reads, too
//! sm bench -m MODEL                         # how fast it is here
//! ```
//!
//! `sm --help` names all commands, and `sm COMMAND --help` explains each option.

mod args;
mod commands;
mod console;
mod failure;
mod interrupt;
mod progress;
mod prompt;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::console::Console;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_max_level(cli.global.log_level).with_writer(std::io::stderr).init();
    let console = Console::new(&cli.global);
    match cli.command.run(&console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            failure.exit_code()
        }
    }
}
