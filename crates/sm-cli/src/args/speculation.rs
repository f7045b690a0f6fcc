//! Options for speculative decoding.

use std::path::PathBuf;

use sm_runtime::SpeculationConfig;

use super::number;

/// Speculative decoding.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Speculative decoding (never changes the output)")]
pub(crate) struct SpeculationArgs {
    /// Draft tokens with the smaller model DRAFT, which must have the same vocabulary
    #[arg(long, alias = "model-draft", value_name = "DRAFT")]
    pub(crate) draft: Option<PathBuf>,
    /// Draft what followed the last few tokens earlier in the text
    #[arg(long)]
    lookup: bool,
    /// Draft at most N tokens at a time
    #[arg(long, aliases = ["draft-max", "draft-n"], value_name = "N", value_parser = number::count, allow_negative_numbers = true)]
    draft_len: Option<usize>,
}

impl SpeculationArgs {
    /// The runtime's options, which the runtime validates; `base` where no option is given.
    pub(crate) fn config(&self, base: SpeculationConfig) -> SpeculationConfig {
        let mut config = base.max_draft_len(self.draft_len.unwrap_or(base.max_draft_len));
        config.lookup |= self.lookup;
        config
    }
}
