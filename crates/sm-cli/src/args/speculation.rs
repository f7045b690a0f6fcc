//! Whether next tokens are guessed.

use std::path::PathBuf;

use sm_runtime::SpeculationConfig;

/// Whether next tokens are guessed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Speculation")]
pub(crate) struct SpeculationArgs {
    /// Let the smaller model DRAFT, with the same vocabulary, guess next tokens; the text stays the same
    #[arg(long, value_name = "DRAFT")]
    pub(crate) draft: Option<PathBuf>,
    /// Guess that what followed the last few tokens before follows again; the text stays the same
    #[arg(long)]
    lookup: bool,
    /// Guess at most N tokens at a time
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    draft_len: Option<usize>,
}

impl SpeculationArgs {
    /// The options of the runtime, which checks their values; where nothing is said, those of `base`.
    pub(crate) fn config(&self, base: SpeculationConfig) -> SpeculationConfig {
        let mut config = base.max_draft_len(self.draft_len.unwrap_or(base.max_draft_len));
        config.lookup |= self.lookup;
        config
    }
}
