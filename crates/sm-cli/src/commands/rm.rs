//! `sm rm`: removes models from the cache.

use sm_hub::HubRef;

use crate::console::{Bytes, Console};
use crate::failure::Failure;
use crate::hub;

/// Remove models from the cache
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm rm Qwen/Qwen3-0.6B-GGUF:Q8_0   # one quantization
  sm rm Qwen/Qwen3-0.6B-GGUF        # everything of the repository

sm list shows the names. Files that another model or revision needs stay.")]
pub(crate) struct Args {
    /// `ORGANIZATION/NAME[:QUANT|:FILE][@REVISION]`
    #[arg(value_name = "NAME", required = true, value_parser = hub::parse)]
    names: Vec<HubRef>,
}

/// Removes the models.
///
/// # Errors
/// If one is not there or cannot be removed; those before it are gone.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let hub = hub::hub(console)?;
    for name in &args.names {
        let removed = hub.remove(name)?;
        console.note(format_args!("removed {name}: {} are free", Bytes(removed.freed_bytes)));
    }
    Ok(())
}
