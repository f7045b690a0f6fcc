//! Sampling options.

use sm_runtime::SamplingOptions;
use sm_runtime::model::SamplingDefaults;

/// How the next token is sampled.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Temperature; 0 always picks the most likely token [default: the model's, or 0.8]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temp: Option<f32>,
    /// Keep the K most likely tokens; 0 disables the filter [default: the model's, or 40]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<usize>,
    /// Keep the smallest set of tokens with total probability P; 1 disables the filter [default: the model's, or
    /// 0.95]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Drop tokens less likely than P times the most likely one; 0 disables the filter [default: the model's, or
    /// 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Penalize tokens that occur in the prompt or the output by factor R; 1 disables the penalty [default: the
    /// model's, or 1]
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,
    /// Subtract P from the logits of tokens that occur in the output
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Subtract P from a token's logit for each time it occurs in the output
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Random seed [default: a new one each time, shown at the end]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Ignore the sampling settings that the model recommends (generation_config.json, general.sampling in GGUF)
    #[arg(long)]
    no_model_defaults: bool,
}

impl SamplingArgs {
    /// The options of the runtime, which checks their values: what was given, else what the model recommends.
    pub(crate) fn options(&self, model: &SamplingDefaults) -> SamplingOptions {
        let model = if self.no_model_defaults { SamplingDefaults::default() } else { *model };
        let own = SamplingOptions::of_model(&model);
        let mut options = SamplingOptions::new()
            .repetition_penalty(self.repeat_penalty.unwrap_or(own.repetition_penalty))
            .presence_penalty(self.presence_penalty)
            .frequency_penalty(self.frequency_penalty)
            .temperature(self.temp.unwrap_or(own.temperature))
            .top_k(self.top_k.unwrap_or(own.top_k))
            .top_p(self.top_p.unwrap_or(own.top_p))
            .min_p(self.min_p.unwrap_or(own.min_p));
        options.seed = self.seed;
        options
    }

    /// Which of the model's recommendations apply, for a line of notes; empty if none does.
    pub(crate) fn from_model(&self, model: &SamplingDefaults) -> String {
        if self.no_model_defaults {
            return String::new();
        }
        let mut used = *model;
        used.temperature = used.temperature.filter(|_| self.temp.is_none());
        used.top_k = used.top_k.filter(|_| self.top_k.is_none());
        used.top_p = used.top_p.filter(|_| self.top_p.is_none());
        used.min_p = used.min_p.filter(|_| self.min_p.is_none());
        used.repetition_penalty = used.repetition_penalty.filter(|_| self.repeat_penalty.is_none());
        match recommendations(&used) {
            text if text.is_empty() => text,
            text => format!(" | {text} from the model"),
        }
    }
}

/// What a model recommends, in the words of the options; empty if nothing.
pub(crate) fn recommendations(model: &SamplingDefaults) -> String {
    let number = |name: &str, value: Option<f32>| value.map(|value| format!("{name} {value}"));
    let parts = [
        number("temp", model.temperature),
        model.top_k.map(|top_k| format!("top-k {top_k}")),
        number("top-p", model.top_p),
        number("min-p", model.min_p),
        number("repeat-penalty", model.repetition_penalty),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
