//! Gemma 1, 2 and 3 (text): scaled embeddings, norms stored as the difference from one; from 2 on norms on both sides
//! and alternating windows; 2 caps scores and logits, 3 normalises queries and keys and rotates local layers otherwise.

use half::{bf16, f16};
use serde_json::json;
use sm_kernels::plan::{Activation, RopePairs};

use super::{gguf, hf, llama};
use crate::LoadError;
use crate::config::{Config, MAX_REPEATS};
use crate::names::{Names, Role};
use crate::spec::{DecoderSpec, NormPlacement, RopeScaling, RopeSpec};

const NAMES: Names = &[
    (Role::AttentionPostNorm, "layers.{l}.post_attention_layernorm"),
    (Role::FfnNorm, "layers.{l}.pre_feedforward_layernorm"),
    (Role::FfnPostNorm, "layers.{l}.post_feedforward_layernorm"),
];
/// The base of the rotation in layers with a window, which GGUF files of Gemma 3 need not name.
const LOCAL_THETA: f64 = 10_000.0;

/// `modeling_gemma.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    // Gemma's old configurations say "gelu" and mean its approximation; transformers ignores `hidden_act` likewise.
    let config = &config.or_defaults(json!({
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
    }));
    let mut spec = hf::decoder(config)?;
    spec.layers.iter_mut().for_each(|layer| {
        if layer.ffn.activation == Activation::GeluErf {
            layer.ffn.activation = Activation::GeluTanh;
        }
    });
    spec.biases = llama::attention_bias(config)?;
    spec.norm.weight_offset = 1.0;
    spec.embedding.scale = rounded_scale(config, spec.hidden_size)?;
    Ok(spec)
}

/// The square root of the hidden size, in the type that transformers would run the model in.
fn rounded_scale(config: &Config, hidden_size: usize) -> Result<f32, LoadError> {
    let scale = (hidden_size as f64).sqrt() as f32;
    let dtype = match config.text("dtype")? {
        None => config.text("torch_dtype")?,
        found => found,
    };
    Ok(match dtype {
        Some("bfloat16") => bf16::from_f32(scale).to_f32(),
        Some("float16") => f16::from_f32(scale).to_f32(),
        _ => scale,
    })
}

fn attention_scale(config: &Config) -> Result<f32, LoadError> {
    let scalar = config.positive("query_pre_attn_scalar")?.unwrap_or(256.0);
    Ok((1.0 / scalar.sqrt()) as f32)
}

/// `modeling_gemma2.py` of transformers.
pub(super) fn gemma2_from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let config = &config.or_defaults(json!({
        "sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    }));
    let mut spec = from_hf(config)?;
    spec.norm.placement = NormPlacement::BeforeAndAfter;
    spec.naming = spec.naming.with(NAMES);
    spec.attention.scale = attention_scale(config)?;
    spec.attention.soft_cap = config.positive("attn_logit_softcapping")?.map(|cap| cap as f32);
    spec.head.soft_cap = config.positive("final_logit_softcapping")?.map(|cap| cap as f32);
    hf::set_windows(&mut spec, config, |layer| layer.is_multiple_of(2))?;
    Ok(spec)
}

/// `modeling_gemma3.py` of transformers, without the vision tower.
pub(super) fn gemma3_from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    config.refuse("use_bidirectional_attention", "only causal attention is supported")?;
    let config = &config.or_defaults(json!({
        "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "rope_theta": 1e6,
        "max_position_embeddings": 131_072, "attn_logit_softcapping": null, "final_logit_softcapping": null,
    }));
    // transformers 5 has an object of parameters for each kind of layer.
    let by_kind = config.object("rope_parameters")?;
    let of_kind = |kind: &str| by_kind.as_ref().map_or(Ok(None), |by_kind| by_kind.object(kind));
    let (full, local) = (of_kind("full_attention")?, of_kind("sliding_attention")?);
    let mut spec = gemma2_from_hf(config)?;
    spec.attention.qk_norm = true;
    let period = match config.count("sliding_window_pattern", MAX_REPEATS)? {
        None => config.count("_sliding_window_pattern", MAX_REPEATS)?.unwrap_or(6),
        Some(period) => period,
    };
    hf::set_windows(&mut spec, config, |layer| !(layer + 1).is_multiple_of(period))?;
    let head_dim = spec.attention.head_dim;
    if let Some(full) = full {
        let theta = full.positive("rope_theta")?.unwrap_or(1e6);
        spec.ropes = vec![hf::scaled_rope(config, Some(&full), theta, head_dim)?];
    }
    let local_theta = match &local {
        Some(local) => local.positive("rope_theta")?,
        None => config.positive("rope_local_base_freq")?,
    };
    add_local_rope(&mut spec, local_theta.unwrap_or(LOCAL_THETA));
    Ok(spec)
}

/// Gives the layers with a window an unscaled rotation of their own.
fn add_local_rope(spec: &mut DecoderSpec, theta: f64) {
    let local = RopeSpec { theta, scaling: RopeScaling::None, ..spec.ropes[0].clone() };
    spec.ropes.push(local);
    spec.layers.iter_mut().filter(|layer| layer.window.is_some()).for_each(|layer| layer.rope = Some(1));
}

/// Files of llama.cpp's converter, which adds the one to the norms.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    spec.embedding.scale = (spec.hidden_size as f64).sqrt() as f32;
    spec.layers.iter_mut().for_each(|layer| layer.ffn.activation = Activation::GeluTanh);
    Ok(spec)
}

/// As [`from_gguf`]; `layers_of_27b` tells the size whose scores are scaled by the hidden size per head.
fn with_post_norms(config: &gguf::GgufConfig<'_>, layers_of_27b: usize) -> Result<DecoderSpec, LoadError> {
    let mut spec = from_gguf(config)?;
    spec.norm.placement = NormPlacement::BeforeAndAfter;
    spec.attention.soft_cap = config.positive("attn_logit_softcapping")?;
    spec.head.soft_cap = config.positive("final_logit_softcapping")?;
    if spec.layers.len() == layers_of_27b {
        let per_head = spec.hidden_size as f64 / spec.attention.n_heads as f64;
        spec.attention.scale = (1.0 / per_head.sqrt()) as f32;
    }
    Ok(spec)
}

/// Gemma 2; the metadata do not carry `query_pre_attn_scalar`, so the size decides as in llama.cpp.
pub(super) fn gemma2_from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = with_post_norms(config, 46)?;
    gguf::set_window_pattern(&mut spec, config, 2)?;
    Ok(spec)
}

/// Gemma 3.
pub(super) fn gemma3_from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = with_post_norms(config, 62)?;
    spec.attention.qk_norm = true;
    gguf::set_window_pattern(&mut spec, config, 6)?;
    let theta = config.positive("rope.freq_base_swa")?.map_or(LOCAL_THETA, f64::from);
    add_local_rope(&mut spec, theta);
    Ok(spec)
}
