//! Sampling options.

mod groups;
mod order;
mod rules;

use sm_model::SamplingDefaults;
use sm_tensor::{TokenId, setters, some_setters};

pub use groups::{DryOptions, DynamicTemperature, MirostatOptions, XtcOptions};
pub(super) use rules::check_texts;

use super::SamplerKind;

/// How the next token is sampled. [`sampling`](crate::sampling) describes the order of the filters.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SamplingOptions {
    /// The only tokens that may be sampled. All by default.
    pub allowed_tokens: Option<Vec<TokenId>>,
    /// Strings that must not occur in the output, at the start of a word or inside one, however they are tokenized. None by
    /// default; at most 100,000 of up to 1,000 bytes.
    pub bad_words: Vec<String>,
    /// Values added to the logits of tokens; `-inf` forbids a token. Empty by default.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Divides positive and multiplies negative logits of tokens that have occurred, from 0.01 to 100. 1 (the default) disables it.
    pub repetition_penalty: f32,
    /// Number of most recent prompt and output tokens the repetition penalty considers. 0 (the default) considers all.
    pub repetition_window: usize,
    /// Subtracted once from the logits of tokens that occur in the output. 0 (the default) disables it.
    pub presence_penalty: f32,
    /// Subtracted from the logits of tokens once per occurrence in the output. 0 (the default) disables it.
    pub frequency_penalty: f32,
    /// The penalty of repeated sequences. Off by default.
    pub dry: DryOptions,
    /// Divides the logits. 0 always picks the most likely token. 0.8 by default.
    pub temperature: f32,
    /// How the temperature depends on the entropy. Not at all by default.
    pub dynamic_temperature: DynamicTemperature,
    /// Keeps the tokens whose logits lie at most this many standard deviations below the largest. 0 (the default) disables it.
    pub top_n_sigma: f32,
    /// Keeps the `top_k` most likely tokens. 0 disables it. 40 by default.
    pub top_k: usize,
    /// Keeps the tokens whose surprise is closest to the entropy, until their total probability exceeds this. 1 (the default)
    /// disables it.
    pub typical_p: f32,
    /// Keeps the smallest set of most likely tokens with at least this total probability. 1 disables it. 0.95 by default.
    pub top_p: f32,
    /// Keeps tokens with at least this probability relative to the most likely one. 0 (the default) disables it.
    pub min_p: f32,
    /// Excludes the most likely tokens at random. Off by default.
    pub xtc: XtcOptions,
    /// Mirostat 2, which replaces all cuts, including the default `top_k` and `top_p`. Off by default.
    pub mirostat: Option<MirostatOptions>,
    /// The samplers to apply, in order. By default all of them, as in [`SamplerKind::ALL`], with a dynamic temperature moved to
    /// the end.
    pub samplers: Option<Vec<SamplerKind>>,
    /// Makes the output reproducible. By default a random seed is drawn and returned with the result.
    pub seed: Option<u64>,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            allowed_tokens: None,
            bad_words: Vec::new(),
            logit_bias: Vec::new(),
            repetition_penalty: 1.0,
            repetition_window: 0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            dry: DryOptions::default(),
            temperature: 0.8,
            dynamic_temperature: DynamicTemperature::default(),
            top_n_sigma: 0.0,
            top_k: 40,
            typical_p: 1.0,
            top_p: 0.95,
            min_p: 0.0,
            xtc: XtcOptions::default(),
            mirostat: None,
            samplers: None,
            seed: None,
        }
    }
}

impl SamplingOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The defaults, and where a model's files recommend other values, those.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), sm_runtime::Error> {
    /// use std::path::Path;
    ///
    /// use sm_runtime::{Engine, GenerationOptions, SamplingOptions};
    ///
    /// let engine = Engine::builder().load(Path::new("model.gguf"))?;
    /// let sampling = SamplingOptions::of_model(engine.model().sampling_defaults()).seed(7);
    /// let options = GenerationOptions::new().sampling(sampling);
    /// # Ok(())
    /// # }
    /// ```
    pub fn of_model(model: &SamplingDefaults) -> Self {
        let own = Self::default();
        Self {
            repetition_penalty: model.repetition_penalty.unwrap_or(own.repetition_penalty),
            temperature: model.temperature.unwrap_or(own.temperature),
            top_k: model.top_k.unwrap_or(own.top_k),
            top_p: model.top_p.unwrap_or(own.top_p),
            min_p: model.min_p.unwrap_or(own.min_p),
            ..own
        }
    }

    /// Options that always pick the most likely token, without filters or penalties.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, ..Self::default() }
    }

    setters!(
        bad_words: Vec<String>,
        logit_bias: Vec<(TokenId, f32)>,
        repetition_penalty: f32,
        repetition_window: usize,
        presence_penalty: f32,
        frequency_penalty: f32,
        dry: DryOptions,
        temperature: f32,
        dynamic_temperature: DynamicTemperature,
        top_n_sigma: f32,
        top_k: usize,
        typical_p: f32,
        top_p: f32,
        min_p: f32,
        xtc: XtcOptions,
    );
    some_setters!(
        allowed_tokens: Vec<TokenId>,
        mirostat: MirostatOptions,
        samplers: Vec<SamplerKind>,
        seed: u64,
    );
}
