//! `sm completions`: completion scripts for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::Cli;
use crate::console::Console;
use crate::failure::Failure;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm completions bash > ~/.local/share/bash-completion/completions/sm
  sm completions zsh > ~/.zfunc/_sm
  sm completions fish > ~/.config/fish/completions/sm.fish")]
pub(crate) struct Args {
    /// Shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If stdout is closed or fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sm", &mut script);
    console.piece(&String::from_utf8_lossy(&script))
}
