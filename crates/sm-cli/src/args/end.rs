//! Options for when an output ends.

use sm_runtime::model::SamplingDefaults;
use sm_runtime::{EosRule, GenerationOptions, LongInput, StopRules, TokenId};

use super::{GrammarArgs, SamplingArgs, number};
use crate::failure::Failure;

/// When an output ends.
#[derive(Debug, clap::Args)]
pub(crate) struct EndArgs {
    /// Generate at most N tokens; -1 is as many as the context has room for
    #[arg(short, long, aliases = ["n-predict", "predict", "max-tokens"], value_name = "N", default_value_t = 100, value_parser = number::n_tokens, allow_negative_numbers = true)]
    n_tokens: usize,
    /// Stop before the string S; repeatable
    #[arg(long, short_alias = 'r', alias = "reverse-prompt", value_name = "S")]
    stop: Vec<String>,
    /// Stop at the token ID; repeatable
    #[arg(long, value_name = "ID", value_parser = number::token, hide_short_help = true)]
    stop_token: Vec<u32>,
    /// Do not stop before N tokens
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::count, allow_negative_numbers = true, hide_short_help = true)]
    min_tokens: usize,
    /// Continue past the model's end-of-sequence token
    #[arg(long)]
    ignore_eos: bool,
    /// Refuse a prompt of more than N tokens
    #[arg(long, value_name = "N", value_parser = number::count, allow_negative_numbers = true, hide_short_help = true)]
    max_prompt_tokens: Option<usize>,
    /// Keep the end of a prompt that is longer than that
    #[arg(long, requires = "max_prompt_tokens", hide_short_help = true)]
    keep_tail: bool,
    /// Stop at N tokens, the prompt counted
    #[arg(long, value_name = "N", value_parser = number::count, allow_negative_numbers = true, hide_short_help = true)]
    max_length: Option<usize>,
    /// Stop after N milliseconds, with what is there
    #[arg(long, value_name = "N", value_parser = number::count, allow_negative_numbers = true, hide_short_help = true)]
    max_time_ms: Option<usize>,
}

impl EndArgs {
    /// The options of the runtime, which checks their values. What the model recommends is not known yet.
    ///
    /// # Errors
    /// If options contradict each other, or a grammar file cannot be read.
    pub(crate) fn options(
        &self,
        sampling: &SamplingArgs,
        grammar: &GrammarArgs,
    ) -> Result<GenerationOptions, Failure> {
        let eos = if self.ignore_eos { EosRule::Ignore } else { EosRule::Stop };
        let stop_tokens = self.stop_token.iter().copied().map(TokenId).collect();
        let stop = StopRules::new()
            .sequences(&self.stop)
            .token_ids(stop_tokens)
            .min_new_tokens(self.min_tokens)
            .eos(eos);
        let mut options = GenerationOptions::new()
            .sampling(sampling.options(&SamplingDefaults::default())?)
            .max_new_tokens(self.n_tokens)
            .stop(stop);
        options.limits.max_length = self.max_length;
        options.limits.max_input_tokens = self.max_prompt_tokens;
        options.limits.max_time_ms = self.max_time_ms.map(|n| n as u64);
        options.limits.long_input = if self.keep_tail { LongInput::KeepTail } else { LongInput::Reject };
        options.grammar = grammar.read()?;
        options.white_space = grammar.white_space();
        Ok(options)
    }
}
