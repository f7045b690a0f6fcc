//! The commands: one file and one table row each.

mod batch;
mod bench;
mod chat;
mod completions;
mod detokenize;
mod doctor;
mod embed;
mod generate;
mod health;
mod inspect;
mod keys;
mod list;
mod perplexity;
mod pull;
mod quantize;
mod rm;
mod run;
mod serve;
mod tokenize;
mod ui;

use crate::console::Console;
use crate::failure::Failure;

/// Generates the enum of commands and its dispatch from the table. Each module has `Args`, whose documentation is the
/// command's help, and `run`.
macro_rules! commands {
    ($($name:ident => $module:ident,)*) => {
        /// A command with its arguments.
        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum Command {
            $(#[allow(missing_docs, reason = "the help is that of the module's Args")] $name($module::Args),)*
        }

        impl Command {
            /// Runs the command.
            ///
            /// # Errors
            /// As the command's own `run`.
            pub(crate) fn run(&mut self, console: &Console) -> Result<(), Failure> {
                match self {
                    $(Self::$name(args) => $module::run(args, console),)*
                }
            }
        }
    };
}

commands! {
    Generate => generate,
    Chat => chat,
    Batch => batch,
    Embed => embed,
    Serve => serve,
    Ui => ui,
    Keys => keys,
    Health => health,
    Perplexity => perplexity,
    Pull => pull,
    List => list,
    Rm => rm,
    Inspect => inspect,
    Quantize => quantize,
    Tokenize => tokenize,
    Detokenize => detokenize,
    Bench => bench,
    Completions => completions,
    Doctor => doctor,
    Run => run,
}
