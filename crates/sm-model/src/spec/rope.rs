//! Rotary position embeddings (RoPE): one frequency per pair of dimensions, from base and scaling.
//!
//! ```text
//! pair i at position p turns by  p * inv_freq[i],   inv_freq[i] = theta^(-2 i / rotary_dim)
//! ```
//!
//! A model trained on `original_context_len` positions is extended to longer contexts by lowering frequencies. Schemes
//! differ in which pairs they slow down and by how much:
//!
//! | scaling | frequencies | source |
//! |---|---|---|
//! | linear | all divided by one factor | position interpolation, <https://arxiv.org/abs/2306.15595> |
//! | llama3 | by wavelength: short ones kept, long ones divided, a ramp between | Llama 3.1's reference code |
//! | yarn | by turns within the original context: a ramp between kept and divided, and sharper attention | <https://arxiv.org/abs/2309.00071> |
//! | longrope | a divisor per pair found by search, one set for short and one for long contexts | <https://arxiv.org/abs/2402.13753> |
//!
//! RoPE itself: <https://arxiv.org/abs/2104.09864>. The arithmetic follows `modeling_rope_utils.py` of transformers down to
//! which values are `f32`, since a relative error of 1e-7 in a frequency is an angle error of 1e-3 at position 10,000.

use std::f64::consts::PI;

use sm_kernels::plan::{ExtendedRope, RopePairs, RopeTable};

use crate::config::MAX_CONTEXT;

/// A rotary embedding, for any context length.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// The base of the frequencies.
    pub theta: f64,
    /// Number of rotated values per head, from the first; even.
    pub rotary_dim: usize,
    /// Which two values of a head form a pair.
    pub pairs: RopePairs,
    /// How the frequencies are lowered for long contexts.
    pub scaling: RopeScaling,
}

/// How the frequencies of a rotation are lowered for contexts beyond the trained length.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Unchanged.
    None,
    /// All by the same factor: position interpolation.
    Linear {
        /// Divisor of the frequencies.
        factor: f32,
    },
    /// Low frequencies only, as in Llama 3.1.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original_context_len / low_freq_factor` are fully divided.
        low_freq_factor: f32,
        /// Wavelengths below `original_context_len / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// The trained context length.
        original_context_len: usize,
    },
    /// A ramp between kept and divided frequencies: YaRN.
    Yarn {
        /// Divisor of the low frequencies.
        factor: f32,
        /// Frequencies with more turns than this within the original context are kept.
        beta_fast: f32,
        /// Frequencies with fewer turns than this are fully divided.
        beta_slow: f32,
        /// The trained context length.
        original_context_len: usize,
        /// Multiplier of sine and cosine.
        attention_factor: f32,
        /// Whether the ends of the ramp are rounded outwards to whole pairs.
        truncate: bool,
    },
    /// A divisor per pair, from one of two sets: LongRoPE.
    LongRope {
        /// Divisors for contexts up to the original length, one per pair.
        short: Vec<f32>,
        /// Divisors for longer contexts, one per pair.
        long: Vec<f32>,
        /// The trained context length.
        original_context_len: usize,
        /// Multiplier of sine and cosine.
        attention_factor: f32,
    },
    /// A divisor per pair for every context length (`rope_freqs.weight` of GGUF files).
    Divisors(Vec<f32>),
}

/// The attention factor that YaRN recommends: `0.1 scale ln(factor) + 1`.
pub(crate) fn yarn_attention_factor(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 }
}

/// The attention factor that LongRoPE recommends: `sqrt(1 + ln(factor) / ln(original_context_len))`.
pub(crate) fn longrope_attention_factor(factor: f64, original_context_len: usize) -> f64 {
    if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original_context_len as f64).ln()).sqrt() }
}

impl RopeSpec {
    /// The frequencies for contexts of up to `context_len` positions.
    ///
    /// `LongRoPE` has two sets. As in transformers, the length of a sequence decides, not that of the context which is there for
    /// it; unlike there, it is the length that the sequence may reach, since a change on the way would need all of its keys
    /// again. llama.cpp decides by the context.
    pub fn table(&self, context_len: usize) -> RopeTable {
        let mut inv_freq: Vec<f32> =
            (0..self.rotary_dim / 2).map(|pair| self.plain_frequency(pair)).collect();
        let mut scale = 1.0;
        let mut extended = None;
        match &self.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => inv_freq.iter_mut().for_each(|freq| *freq /= factor),
            RopeScaling::Llama3 { .. } => inv_freq.iter_mut().for_each(|freq| *freq = self.llama3(*freq)),
            RopeScaling::Yarn { attention_factor, .. } => {
                inv_freq = self.yarn(&inv_freq);
                scale = *attention_factor;
            }
            RopeScaling::LongRope { short, long, original_context_len, attention_factor } => {
                let beyond = *original_context_len;
                let mut longer = inv_freq.clone();
                divide(&mut longer, long);
                extended = (context_len > beyond).then_some(ExtendedRope { inv_freq: longer, beyond });
                divide(&mut inv_freq, short);
                scale = *attention_factor;
            }
            RopeScaling::Divisors(divisors) => divide(&mut inv_freq, divisors),
        }
        RopeTable { inv_freq, scale, pairs: self.pairs, extended }
    }

    /// The maximum context of a model whose configuration says `context_len`, which with YaRN is often still the trained
    /// length.
    pub(crate) fn stretched_context_len(&self, context_len: usize) -> usize {
        match self.scaling {
            RopeScaling::Yarn { factor, original_context_len, .. } => {
                context_len.max((original_context_len as f64 * f64::from(factor)) as usize).min(MAX_CONTEXT)
            }
            _ => context_len,
        }
    }

    fn plain_frequency(&self, pair: usize) -> f32 {
        let exponent = 2.0 * pair as f64 / self.rotary_dim as f64;
        1.0 / self.theta.powf(exponent) as f32
    }

    fn llama3(&self, freq: f32) -> f32 {
        let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context_len } =
            self.scaling
        else {
            return freq;
        };
        let context = original_context_len as f32;
        let wavelength = 2.0 * PI as f32 / freq;
        if wavelength > context / low_freq_factor {
            return freq / factor;
        }
        if wavelength < context / high_freq_factor {
            return freq;
        }
        let smooth = (context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        (1.0 - smooth) * freq / factor + smooth * freq
    }

    fn yarn(&self, plain: &[f32]) -> Vec<f32> {
        let RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context_len, truncate, .. } =
            self.scaling
        else {
            return plain.to_vec();
        };
        // The (fractional) pair that makes `rotations` turns within the original context.
        let pair_of = |rotations: f32| {
            let turns = original_context_len as f64 / (f64::from(rotations) * 2.0 * PI);
            self.rotary_dim as f64 * turns.ln() / (2.0 * self.theta.ln())
        };
        let mut low = pair_of(beta_fast);
        let mut high = pair_of(beta_slow);
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let low = low.max(0.0);
        let mut high = high.min(self.rotary_dim as f64 - 1.0);
        if low == high {
            high += 0.001;
        }
        let blend = |(pair, &freq): (usize, &f32)| {
            let ramp = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0) as f32;
            freq / factor * ramp + freq * (1.0 - ramp)
        };
        plain.iter().enumerate().map(blend).collect()
    }
}

fn divide(inv_freq: &mut [f32], divisors: &[f32]) {
    inv_freq.iter_mut().zip(divisors).for_each(|(freq, divisor)| *freq /= divisor);
}
