//! `sm pull`: fetches models from the hub.

use sm_hub::HubRef;

use crate::console::Console;
use crate::failure::Failure;
use crate::hub;

/// Fetch models from the Hugging Face hub, and print their paths
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sm pull Qwen/Qwen3-0.6B-GGUF
  sm pull Qwen/Qwen3-0.6B-GGUF:Q8_0
  sm pull Qwen/Qwen3-0.6B

What is there already is not fetched again, and a download that was cut goes on where it ended. Models lie in
the cache of Python's huggingface_hub; its variables apply: HF_HUB_CACHE, HF_HOME, HF_ENDPOINT, HF_TOKEN.
docs/models.md says which files a name means.")]
pub(crate) struct Args {
    /// `ORGANIZATION/NAME[:QUANT|:FILE][@REVISION]`; without a quantization, safetensors or Q4_K_M
    #[arg(value_name = "NAME", required = true, value_parser = hub::parse)]
    names: Vec<HubRef>,
}

/// Fetches the models one after the other.
///
/// # Errors
/// If one cannot be fetched; those before it stay.
pub(crate) fn run(args: &Args, console: &Console) -> Result<(), Failure> {
    let hub = hub::hub(console)?;
    for name in &args.names {
        let model = hub::pull(&hub, name, console)?;
        console.line(format_args!("{}", model.path.display()))?;
    }
    Ok(())
}
