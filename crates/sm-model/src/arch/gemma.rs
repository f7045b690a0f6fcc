//! Gemma 1, 2 and 3 (text): scaled embeddings, and norm weights stored as the difference from one.
//!
//! | | adds |
//! |---|---|
//! | Gemma 2 | post-norms, alternating windows, soft caps on scores and logits |
//! | Gemma 3 | query and key norms, a separate rotation for layers with a window; no soft caps |

use half::{bf16, f16};
use serde_json::json;
use sm_kernels::plan::{Activation, RopePairs};

use super::{gguf, hf, llama};
use crate::LoadError;
use crate::config::{Config, MAX_REPEATS};
use crate::names::{Names, TensorKind};
use crate::spec::{DecoderSpec, NormPlacement, QkNorm, RopeScaling};

const NAMES: Names = &[
    (TensorKind::AttentionPostNorm, "layers.{l}.post_attention_layernorm"),
    (TensorKind::FfnNorm, "layers.{l}.pre_feedforward_layernorm"),
    (TensorKind::FfnPostNorm, "layers.{l}.post_feedforward_layernorm"),
];
/// The window of Gemma 2; old files leave it out.
const GEMMA2_WINDOW: usize = 4096;
/// The base of the rotation in layers with a window; GGUF files of Gemma 3 may leave it out.
const LOCAL_THETA: f64 = 10_000.0;

/// `modeling_gemma.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    // Old configurations say "gelu" but mean the tanh approximation; transformers also ignores their `hidden_act`.
    let config = &config.or_defaults(json!({
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
    }));
    let mut spec = llama::from_hf(config)?;
    for ffn in spec.ffns_mut().filter(|ffn| ffn.activation == Activation::GeluErf) {
        ffn.activation = Activation::GeluTanh;
    }
    spec.norm.weight_offset = 1.0;
    spec.embedding.scale = rounded_scale(config, spec.hidden_size)?;
    Ok(spec)
}

/// The square root of the hidden size, rounded to the type in which transformers would run the model.
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
        "sliding_window": GEMMA2_WINDOW, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    }));
    let mut spec = from_hf(config)?;
    spec.naming = spec.naming.with(NAMES);
    spec.layers.iter_mut().for_each(|layer| layer.norms = NormPlacement::BeforeAndAfter);
    let scale = attention_scale(config)?;
    let soft_cap = config.positive("attn_logit_softcapping")?.map(|cap| cap as f32);
    for attention in spec.attentions_mut() {
        attention.scale = scale;
        attention.soft_cap = soft_cap;
    }
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
    let mut spec = gemma2_from_hf(config)?;
    let period = match config.count("sliding_window_pattern", MAX_REPEATS)? {
        None => config.count("_sliding_window_pattern", MAX_REPEATS)?.unwrap_or(6),
        Some(period) => period,
    };
    hf::set_windows(&mut spec, config, |layer| !(layer + 1).is_multiple_of(period))?;
    spec.attentions_mut().for_each(|attention| attention.qk_norm = Some(QkNorm::PerHead));
    // transformers 5 has separate parameters for each kind of layer.
    let by_kind = config.object("rope_parameters")?;
    let of_kind = |kind: &str| by_kind.as_ref().map_or(Ok(None), |by_kind| by_kind.object(kind));
    if let Some(full) = of_kind("full_attention")? {
        let theta = full.positive("rope_theta")?.unwrap_or(1e6);
        for attention in spec.attentions_mut() {
            attention.rope = Some(hf::scaled_rope(config, Some(&full), theta, attention.head_dim)?);
        }
    }
    let local_theta = match of_kind("sliding_attention")? {
        Some(local) => local.positive("rope_theta")?,
        None => config.positive("rope_local_base_freq")?,
    };
    set_local_rope(&mut spec, local_theta.unwrap_or(LOCAL_THETA));
    Ok(spec)
}

/// Gives layers with a window a separate, unscaled rotation.
fn set_local_rope(spec: &mut DecoderSpec, theta: f64) {
    for rope in spec.windowed_ropes_mut() {
        rope.theta = theta;
        rope.scaling = RopeScaling::None;
    }
}

/// GGUF architecture `gemma`; its converter adds one to the norm weights.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    spec.embedding.scale = (spec.hidden_size as f64).sqrt() as f32;
    spec.ffns_mut().for_each(|ffn| ffn.activation = Activation::GeluTanh);
    Ok(spec)
}

/// As [`from_gguf`], with post-norms and soft caps. The metadata lack `query_pre_attn_scalar`, so as in llama.cpp the 27B
/// size, recognized by its `n_layers_27b` layers, scales scores by `hidden_size / n_heads`.
fn with_post_norms(config: &gguf::GgufConfig<'_>, n_layers_27b: usize) -> Result<DecoderSpec, LoadError> {
    let mut spec = from_gguf(config)?;
    spec.layers.iter_mut().for_each(|layer| layer.norms = NormPlacement::BeforeAndAfter);
    let soft_cap = config.positive("attn_logit_softcapping")?;
    let is_27b = spec.layers.len() == n_layers_27b;
    let hidden_size = spec.hidden_size as f64;
    for attention in spec.attentions_mut() {
        attention.soft_cap = soft_cap;
        if is_27b {
            attention.scale = (1.0 / (hidden_size / attention.n_heads as f64).sqrt()) as f32;
        }
    }
    spec.head.soft_cap = config.positive("final_logit_softcapping")?;
    Ok(spec)
}

/// GGUF architecture `gemma2`.
pub(super) fn gemma2_from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = with_post_norms(config, 46)?;
    gguf::set_windows(&mut spec, config, Some(GEMMA2_WINDOW), 2)?;
    Ok(spec)
}

/// GGUF architecture `gemma3`.
pub(super) fn gemma3_from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = with_post_norms(config, 62)?;
    spec.attentions_mut().for_each(|attention| attention.qk_norm = Some(QkNorm::PerHead));
    gguf::set_windows(&mut spec, config, None, 6)?;
    let theta = config.positive("rope.freq_base_swa")?.map_or(LOCAL_THETA, f64::from);
    set_local_rope(&mut spec, theta);
    Ok(spec)
}
