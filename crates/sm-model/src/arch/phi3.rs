//! Phi-3, 3.5 and 4-mini: fused q·k·v and gate·up, longrope, partly rotated heads.

use serde_json::json;
use sm_kernels::plan::RopePairs;

use super::{gguf, hf};
use crate::LoadError;
use crate::config::{Config, MAX_CONTEXT, unsupported};
use crate::names::{Names, Role};
use crate::spec::{DecoderSpec, RopeScaling, longrope_attention_factor};

/// GGUF files have gate and up fused under the name of up.
const GGUF_NAMES: Names = &[(Role::GateUp, "blk.{l}.ffn_up")];

/// `modeling_phi3.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let full = config.or_defaults(json!({ "rms_norm_eps": 1e-5 }));
    let in_rope = full.object("rope_parameters")?;
    let factor = match &in_rope {
        Some(parameters) => parameters.positive("partial_rotary_factor")?,
        None => None,
    };
    let factor = match factor {
        None => full.positive("partial_rotary_factor")?.unwrap_or(1.0),
        Some(factor) => factor,
    };
    // The common reader takes whole heads to be rotated.
    let plain = full.without(&["rope_scaling", "rope_parameters", "partial_rotary_factor"]);
    let mut spec = hf::decoder(&plain)?;
    let rotary_dim = (spec.attention.head_dim as f64 * factor) as usize;
    if rotary_dim == 0 || rotary_dim > spec.attention.head_dim || !rotary_dim.is_multiple_of(2) {
        let reason = format!("it would rotate {rotary_dim} of {} values", spec.attention.head_dim);
        return Err(unsupported("partial_rotary_factor", factor, reason));
    }
    let rope = hf::rope(&full, rotary_dim)?;
    spec.max_context_len = rope.stretched_context_len(spec.max_context_len);
    spec.ropes = vec![rope];
    hf::set_windows(&mut spec, &full, |_| true)?;
    Ok(spec)
}

/// Files of llama.cpp's converter; the divisors of longrope are tensors.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    spec.naming = spec.naming.with(GGUF_NAMES);
    let (short, long) = ("rope_factors_short.weight", "rope_factors_long.weight");
    if let Some((short_values, long_values)) = config.vector(short)?.zip(config.vector(long)?) {
        let original = config.count("rope.scaling.original_context_length", MAX_CONTEXT)?;
        let original_context_len = original.unwrap_or(spec.max_context_len);
        let stretch = spec.max_context_len as f64 / original_context_len as f64;
        let recommended = longrope_attention_factor(stretch, original_context_len) as f32;
        let rotary_dim = spec.ropes[0].rotary_dim;
        spec.ropes[0].scaling = RopeScaling::LongRope {
            short: gguf::check_divisors(short, short_values, rotary_dim)?,
            long: gguf::check_divisors(long, long_values, rotary_dim)?,
            original_context_len,
            attention_factor: config.positive("rope.scaling.attn_factor")?.unwrap_or(recommended),
        };
    }
    Ok(spec)
}
