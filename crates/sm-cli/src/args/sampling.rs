//! Sampling options.

use sm_runtime::SamplingOptions;

/// How the next token is sampled.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Temperature; 0 always picks the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true)]
    temp: f32,
    /// Keep the K most likely tokens; 0 disables the filter
    #[arg(long, value_name = "K", default_value_t = 40, allow_negative_numbers = true)]
    top_k: usize,
    /// Keep the smallest set of tokens with total probability P; 1 disables the filter
    #[arg(long, value_name = "P", default_value_t = 0.95, allow_negative_numbers = true)]
    top_p: f32,
    /// Drop tokens less likely than P times the most likely one; 0 disables the filter
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Penalize tokens that occur in the prompt or the output by factor R; 1 disables the penalty
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_negative_numbers = true)]
    repeat_penalty: f32,
    /// Subtract P from the logits of tokens that occur in the output
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Subtract P from a token's logit for each time it occurs in the output
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Random seed [default: a new one each time, shown at the end]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    seed: Option<u64>,
}

impl SamplingArgs {
    /// The runtime's options, which the runtime validates.
    pub(crate) fn options(&self) -> SamplingOptions {
        let mut options = SamplingOptions::new()
            .repetition_penalty(self.repeat_penalty)
            .presence_penalty(self.presence_penalty)
            .frequency_penalty(self.frequency_penalty)
            .temperature(self.temp)
            .top_k(self.top_k)
            .top_p(self.top_p)
            .min_p(self.min_p);
        options.seed = self.seed;
        options
    }
}
