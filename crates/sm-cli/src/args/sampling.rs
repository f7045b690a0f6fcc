//! How the next token is sampled.

use sm_runtime::model::SamplingDefaults;
use sm_runtime::{
    DryOptions, DynamicTemperature, Error, MirostatOptions, SamplerKind, SamplingOptions, TokenId, XtcOptions,
};

use super::number::{self, Bias, Seed, Window};
use crate::failure::Failure;

/// How the next token is sampled.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Temperature; 0 always picks the most likely token [default: the model's, or 0.8]
    #[arg(long, alias = "temperature", value_name = "T", value_parser = number::real, allow_negative_numbers = true)]
    temp: Option<f32>,
    /// Keep the K most likely tokens; 0 disables the filter [default: the model's, or 40]
    #[arg(long, value_name = "K", value_parser = number::limit_or_off, allow_negative_numbers = true)]
    top_k: Option<usize>,
    /// Keep the smallest set of tokens with total probability P; 1 disables the filter [default: the model's, or
    /// 0.95]
    #[arg(long, value_name = "P", value_parser = number::real, allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Drop tokens less likely than P times the most likely one; 0 disables the filter [default: the model's, or
    /// 0]
    #[arg(long, value_name = "P", value_parser = number::real, allow_negative_numbers = true)]
    min_p: Option<f32>,
    /// Penalize tokens that occur in the prompt or the output by factor R; 1 disables the penalty [default: the
    /// model's, or 1]
    #[arg(long, value_name = "R", value_parser = number::real, allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,
    /// Penalize only tokens among the last N; -1 is all
    #[arg(long, value_name = "N", default_value = "-1", value_parser = number::window, allow_negative_numbers = true)]
    repeat_last_n: Window,
    /// Subtract P from the logits of tokens that occur in the output
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = number::real, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Subtract P from a token's logit for each time it occurs in the output
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = number::real, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Random seed [default: a new one each time, shown at the end]
    #[arg(long, short_alias = 's', value_name = "S", default_value = "-1", hide_default_value = true, value_parser = number::seed, allow_negative_numbers = true)]
    seed: Seed,
    /// Ignore the sampling settings that the model recommends (generation_config.json, general.sampling in GGUF)
    #[arg(long)]
    no_model_defaults: bool,
    #[command(flatten)]
    more: MoreSamplingArgs,
}

/// What few people need: left out of the short help.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "More sampling")]
struct MoreSamplingArgs {
    /// Add a number to a token's logit, as in 42=-1.5; -inf forbids the token; repeatable
    #[arg(long, value_name = "ID=BIAS", value_parser = number::bias, hide_short_help = true)]
    logit_bias: Vec<Bias>,
    /// Allow only the token ID; repeatable
    #[arg(long, value_name = "ID", value_parser = number::token, hide_short_help = true)]
    allow_token: Vec<u32>,
    /// Keep the string S out of the output; repeatable
    #[arg(long, value_name = "S", hide_short_help = true)]
    bad_word: Vec<String>,
    /// Keep tokens within N standard deviations of the largest logit; 0 disables the filter
    #[arg(long, alias = "top-n-sigma", value_name = "N", default_value_t = 0.0, value_parser = off_below_zero, allow_negative_numbers = true, hide_short_help = true)]
    top_nsigma: f32,
    /// Keep the most typical tokens with total probability P; 1 disables the filter
    #[arg(long, alias = "typical-p", value_name = "P", default_value_t = 1.0, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    typical: f32,
    /// Exclude the most likely tokens with probability P; 0 disables the filter
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    xtc_probability: f32,
    /// Probability from which on a token may be excluded
    #[arg(long, value_name = "P", default_value_t = 0.1, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    xtc_threshold: f32,
    /// Penalize tokens that continue a repetition; 0 disables DRY
    #[arg(long, value_name = "M", default_value_t = 0.0, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    dry_multiplier: f32,
    /// Factor of the penalty for each further repeated token
    #[arg(long, value_name = "B", default_value_t = 1.75, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    dry_base: f32,
    /// Tokens that may be repeated without a penalty
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = number::count, allow_negative_numbers = true, hide_short_help = true)]
    dry_allowed_length: usize,
    /// Search repetitions among the last N tokens; -1 is all
    #[arg(long, value_name = "N", default_value = "-1", value_parser = number::window, allow_negative_numbers = true, hide_short_help = true)]
    dry_penalty_last_n: Window,
    /// Text across which no repetition counts, instead of line ends, `:`, `"` and `*`; repeatable; `none` for no such text
    #[arg(long, value_name = "S", hide_short_help = true)]
    dry_sequence_breaker: Vec<String>,
    /// Let the temperature vary by up to T with the entropy; 0 disables it
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    dynatemp_range: f32,
    /// Exponent of the normalized entropy
    #[arg(long, value_name = "E", default_value_t = 1.0, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    dynatemp_exp: f32,
    /// 2 for Mirostat 2, which takes the place of all filters; 0 disables it
    #[arg(long, value_name = "V", default_value_t = 0, value_parser = mirostat, allow_negative_numbers = true, hide_short_help = true)]
    mirostat: u8,
    /// Target surprise of Mirostat, in bits per token
    #[arg(long, value_name = "TAU", default_value_t = 5.0, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    mirostat_ent: f32,
    /// Learning rate of Mirostat
    #[arg(long, value_name = "ETA", default_value_t = 0.1, value_parser = number::real, allow_negative_numbers = true, hide_short_help = true)]
    mirostat_lr: f32,
    /// Samplers in the order in which they apply, separated by `;` or `,`; one that is left out does not apply
    #[arg(long, value_name = "NAMES", value_parser = samplers, hide_short_help = true)]
    samplers: Option<Order>,
}

/// An order of samplers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Order(Vec<SamplerKind>);

/// Parses an order of samplers.
fn samplers(text: &str) -> Result<Order, String> {
    let names = text.split([';', ',']).filter(|name| !name.trim().is_empty());
    let kinds = names.map(str::parse).collect::<Result<_, Error>>();
    kinds.map(Order).map_err(|error| match error {
        Error::Validation { message, .. } => message,
        other => other.to_string(),
    })
}

/// Parses a number that disables its filter below 0, as in llama.cpp.
fn off_below_zero(text: &str) -> Result<f32, String> {
    number::real(text).map(|number| if number < 0.0 { 0.0 } else { number })
}

fn mirostat(text: &str) -> Result<u8, String> {
    match text {
        "0" => Ok(0),
        "2" => Ok(2),
        "1" => Err("version 1 is not available; use 2, which needs no estimate of the vocabulary".to_owned()),
        _ => Err("must be 2, or 0 to disable it".to_owned()),
    }
}

impl SamplingArgs {
    /// The options of the runtime, which checks their values: what was given, else what the model recommends.
    ///
    /// # Errors
    /// If options contradict each other.
    pub(crate) fn options(&self, model: &SamplingDefaults) -> Result<SamplingOptions, Failure> {
        let model = if self.no_model_defaults { SamplingDefaults::default() } else { *model };
        let own = SamplingOptions::of_model(&model);
        let mut options = SamplingOptions::new()
            .presence_penalty(self.presence_penalty)
            .frequency_penalty(self.frequency_penalty)
            .temperature(self.temp.unwrap_or(own.temperature))
            .top_k(self.top_k.unwrap_or(own.top_k))
            .top_p(self.top_p.unwrap_or(own.top_p))
            .min_p(self.min_p.unwrap_or(own.min_p));
        if let Some(window) = self.repeat_last_n.n_tokens() {
            let penalty = self.repeat_penalty.unwrap_or(own.repetition_penalty);
            options = options.repetition_penalty(penalty).repetition_window(window);
        }
        options.seed = self.seed.0;
        self.more.apply(&mut options)?;
        Ok(options)
    }

    /// Which of the model's recommendations apply, for a line of notes; empty if none does.
    pub(crate) fn recommended(&self, model: &SamplingDefaults) -> String {
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

impl MoreSamplingArgs {
    fn apply(&self, options: &mut SamplingOptions) -> Result<(), Failure> {
        options.logit_bias = self.logit_bias.iter().map(|each| (TokenId(each.token), each.bias)).collect();
        let allowed: Vec<TokenId> = self.allow_token.iter().copied().map(TokenId).collect();
        options.allowed_tokens = (!allowed.is_empty()).then_some(allowed);
        options.bad_words.clone_from(&self.bad_word);
        options.top_n_sigma = self.top_nsigma;
        options.typical_p = self.typical;
        options.xtc = XtcOptions::new().probability(self.xtc_probability).threshold(self.xtc_threshold);
        options.dynamic_temperature =
            DynamicTemperature::new().range(self.dynatemp_range).exponent(self.dynatemp_exp);
        options.dry = self.dry()?;
        if self.mirostat == 2 {
            options.mirostat = Some(MirostatOptions::new().tau(self.mirostat_ent).eta(self.mirostat_lr));
        }
        options.samplers = self.samplers.as_ref().map(|order| order.0.clone());
        Ok(())
    }

    fn dry(&self) -> Result<DryOptions, Failure> {
        let mut dry = DryOptions::new().base(self.dry_base).allowed_length(self.dry_allowed_length);
        if let Some(window) = self.dry_penalty_last_n.n_tokens() {
            dry = dry.multiplier(self.dry_multiplier).window(window);
        }
        match self.dry_sequence_breaker.as_slice() {
            [] => {}
            [none] if none == "none" => dry.sequence_breakers.clear(),
            several if several.iter().any(|each| each == "none") => {
                let message = "\"none\" stands for no breaker at all; leave it or the others out".to_owned();
                return Err(Failure::Option { flag: "--dry-sequence-breaker", message });
            }
            several => {
                dry.sequence_breakers = several.iter().map(|text| crate::escapes::unescape(text)).collect();
            }
        }
        Ok(dry)
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
