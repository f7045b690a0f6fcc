//! Samplers with several parameters.

use sm_tensor::setters;

/// DRY, which penalizes tokens that would extend a repetition of earlier text
/// ([Don't Repeat Yourself](https://github.com/oobabooga/text-generation-webui/pull/5677)).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DryOptions {
    /// The penalty of the shortest repetition that is penalized. 0 (the default) disables DRY.
    pub multiplier: f32,
    /// Factor of the penalty per further repeated token. 1.75 by default.
    pub base: f32,
    /// Tokens that may be repeated without a penalty. 2 by default.
    pub allowed_length: usize,
    /// Number of most recent prompt and output tokens to search. 0 (the default) searches all.
    pub window: usize,
    /// Strings across which repetitions do not count. `\n`, `:`, `"` and `*` by default.
    pub sequence_breakers: Vec<String>,
}

impl Default for DryOptions {
    fn default() -> Self {
        let sequence_breakers = ["\n", ":", "\"", "*"].map(str::to_owned).into();
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, window: 0, sequence_breakers }
    }
}

impl DryOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(
        multiplier: f32,
        base: f32,
        allowed_length: usize,
        window: usize,
        sequence_breakers: Vec<String>,
    );
}

/// XTC, which at random excludes all likely tokens but the least likely of them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct XtcOptions {
    /// Probability of excluding tokens at a step. 0 (the default) disables it.
    pub probability: f32,
    /// Probability at or above which a token is likely. Above 0.5, nothing is excluded. 0.1 by default.
    pub threshold: f32,
}

impl Default for XtcOptions {
    fn default() -> Self {
        Self { probability: 0.0, threshold: 0.1 }
    }
}

impl XtcOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(probability: f32, threshold: f32);
}

/// A temperature that grows with the candidates' entropy.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DynamicTemperature {
    /// Maximum deviation from [`SamplingOptions::temperature`](field@super::SamplingOptions::temperature).
    /// 0 (the default) disables it.
    pub range: f32,
    /// Exponent of the normalized entropy. 1 by default.
    pub exponent: f32,
}

impl Default for DynamicTemperature {
    fn default() -> Self {
        Self { range: 0.0, exponent: 1.0 }
    }
}

impl DynamicTemperature {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(range: f32, exponent: f32);
}

/// Mirostat 2, which keeps the output's surprise near a target.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MirostatOptions {
    /// Target surprise, in bits per token. 5 by default.
    pub tau: f32,
    /// Learning rate. 0.1 by default.
    pub eta: f32,
}

impl Default for MirostatOptions {
    fn default() -> Self {
        Self { tau: 5.0, eta: 0.1 }
    }
}

impl MirostatOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters!(tau: f32, eta: f32);
}
