//! `sm keys`: keys for `sm serve --api-keys`.

use sm_server::NewKey;

use crate::console::Console;
use crate::failure::Failure;

/// Make keys for sm serve
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  sm keys new --name alice >> keys.toml
  sm serve --api-keys keys.toml

The key is shown once, on stderr; its entry for the file, with its hash, is written to stdout.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a key, and print its entry for the file of keys
    New {
        /// Name of its owner, for logs
        #[arg(long, value_name = "NAME", default_value = "new")]
        name: String,
        /// Let it call /admin
        #[arg(long)]
        admin: bool,
    },
}

/// Makes a key.
///
/// # Errors
/// If the system has no source of randomness, or stdout is closed or fails.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let Action::New { name, admin } = &args.action;
    let key = NewKey::random().map_err(Failure::Random)?;
    console.message(format_args!("key: {}", key.key));
    let mut entry = toml::Table::new();
    entry.insert("name".to_owned(), name.clone().into());
    entry.insert("hash".to_owned(), key.hash.into());
    if *admin {
        entry.insert("admin".to_owned(), true.into());
    }
    let lines: Vec<String> = entry.iter().map(|(field, value)| format!("{field} = {value}\n")).collect();
    console.piece(&format!("[[key]]\n{}", lines.concat()))
}
