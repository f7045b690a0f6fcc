//! Options for when an output ends.

use sm_runtime::model::SamplingDefaults;
use sm_runtime::{EosRule, GenerationOptions, StopRules};

use super::{GrammarArgs, SamplingArgs};
use crate::failure::Failure;

/// When an output ends.
#[derive(Debug, clap::Args)]
pub(crate) struct EndArgs {
    /// Generate at most N tokens
    #[arg(short, long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
    n_tokens: usize,
    /// Stop before the string S; repeatable
    #[arg(long, value_name = "S")]
    stop: Vec<String>,
    /// Continue past the model's end-of-sequence token
    #[arg(long)]
    ignore_eos: bool,
}

impl EndArgs {
    /// The options of the runtime, which checks their values. What the model recommends is not known yet.
    ///
    /// # Errors
    /// If a grammar file cannot be read.
    pub(crate) fn options(
        &self,
        sampling: &SamplingArgs,
        grammar: &GrammarArgs,
    ) -> Result<GenerationOptions, Failure> {
        let eos = if self.ignore_eos { EosRule::Ignore } else { EosRule::Stop };
        let mut options = GenerationOptions::new()
            .sampling(sampling.options(&SamplingDefaults::default()))
            .max_new_tokens(self.n_tokens)
            .stop(StopRules::new().sequences(&self.stop).eos(eos));
        options.grammar = grammar.read()?;
        Ok(options)
    }
}
