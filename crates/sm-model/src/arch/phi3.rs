//! Phi-3, 3.5 and 4-mini: fused q·k·v and gate·up, LongRoPE, partly rotated heads.

use serde_json::json;
use sm_kernels::plan::RopePairs;

use super::{gguf, hf};
use crate::LoadError;
use crate::config::{Config, MAX_CONTEXT};
use crate::names::{Names, TensorKind};
use crate::spec::{DecoderSpec, RopeScaling, longrope_attention_factor};

/// GGUF files store fused gate and up under the name of up.
const GGUF_NAMES: Names = &[(TensorKind::GateUp, "blk.{l}.ffn_up")];

/// `modeling_phi3.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let config = &config.or_defaults(json!({ "rms_norm_eps": 1e-5 }));
    let rotated = hf::rotated_fraction(config)?.unwrap_or(1.0);
    let mut spec = hf::partly_rotated_decoder(config, rotated)?;
    hf::set_windows(&mut spec, config, |_| true)?;
    Ok(spec)
}

/// GGUF architecture `phi3`; LongRoPE divisors are tensors, and its scaling has no type.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    spec.naming = spec.naming.with(GGUF_NAMES);
    let (short, long) = ("rope_factors_short.weight", "rope_factors_long.weight");
    let Some((short_values, long_values)) = config.vector(short)?.zip(config.vector(long)?) else {
        return Ok(spec);
    };
    let original = config.count("rope.scaling.original_context_length", MAX_CONTEXT)?;
    let original_context_len = original.unwrap_or(spec.max_context_len);
    let stretch = spec.max_context_len as f64 / original_context_len as f64;
    let recommended = longrope_attention_factor(stretch, original_context_len) as f32;
    let attention_factor = config.positive("rope.scaling.attn_factor")?.unwrap_or(recommended);
    for rope in spec.attentions_mut().filter_map(|attention| attention.rope.as_mut()) {
        rope.scaling = RopeScaling::LongRope {
            short: gguf::check_divisors(short, &short_values, rope.rotary_dim)?,
            long: gguf::check_divisors(long, &long_values, rope.rotary_dim)?,
            original_context_len,
            attention_factor,
        };
    }
    Ok(spec)
}
