//! The command `sm`: runs language models on this machine, and measures and converts them.
//!
//! ```sh
//! sm generate "Once upon a time"            # the demo model, no download
//! sm chat -m Qwen3-0.6B-Q8_0.gguf           # a GGUF file or a Hugging Face directory
//! sm batch -m MODEL in.jsonl out.jsonl      # many requests concurrently
//! sm quantize MODEL model.gguf --type q4_k  # a GGUF file that llama.cpp also reads
//! sm bench -m MODEL                         # speed on this machine
//! ```
//!
//! `sm --help` lists all commands, and `sm COMMAND --help` explains each option.

mod args;
mod commands;
mod config_file;
mod console;
mod escapes;
mod failure;
mod familiar;
mod interrupt;
mod log;
mod logprob;
mod progress;
mod prompt;
mod shown;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::args::GlobalArgs;
use crate::commands::Command;
use crate::console::Console;

/// Runs language models on this machine.
#[derive(Debug, Parser)]
#[command(name = "sm", version, propagate_version = true, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
MODEL is a Hugging Face directory, or a GGUF, safetensors or .smnd file. The default is `demo`, a small
built-in model that tells short stories and answers simple questions.

Examples:
  sm generate \"Once upon a time\"
  sm chat
  sm chat -m ./Qwen3-0.6B
  sm batch questions.jsonl answers.jsonl
  sm quantize ./Qwen3-0.6B qwen3.gguf --type q4_k
  sm bench -m qwen3.gguf -p 512 -n 128

Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted.
Results are written to stdout, everything else to stderr.";

fn main() -> ExitCode {
    let args = match familiar::translate(std::env::args_os()).and_then(config_file::expand) {
        Ok(args) => args,
        Err(failure) => {
            Console::new(false).failure(&failure);
            return failure.exit_code();
        }
    };
    let mut cli = Cli::parse_from(args);
    log::init(cli.global.log_level, cli.global.log_format);
    let console = Console::new(cli.global.quiet);
    match cli.command.run(&console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            failure.exit_code()
        }
    }
}
