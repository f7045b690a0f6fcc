//! HunYuan (dense): Llama with query and key norms after the rotation, whose base grows with the context.

use serde_json::json;
use sm_kernels::plan::RopePairs;

use super::{gguf, hf, llama};
use crate::LoadError;
use crate::config::{Config, MAX_HEAD_DIM, unsupported};
use crate::names::{Names, TensorKind};
use crate::spec::{DecoderSpec, QkNorm};

const NAMES: Names = &[
    (TensorKind::QNorm, "layers.{l}.self_attn.query_layernorm"),
    (TensorKind::KNorm, "layers.{l}.self_attn.key_layernorm"),
];
/// The context that the scaled base is for. Configurations give that of an early stage of training; llama.cpp's converter
/// writes this number, too.
const SCALED_CONTEXT_LEN: usize = 256 * 1024;

fn normalize_rotated_heads(spec: &mut DecoderSpec) {
    spec.attentions_mut().for_each(|attention| attention.qk_norm = Some(QkNorm::PerHeadAfterRope));
}

/// `modeling_hunyuan_v1_dense.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    config.refuse("use_cla", "keys and values shared between layers are not supported")?;
    let config = &scaled_base(&config.or_defaults(json!({ "rms_norm_eps": 1e-5 })))?;
    let mut spec = llama::from_hf(config)?;
    normalize_rotated_heads(&mut spec);
    spec.naming = spec.naming.with(NAMES);
    Ok(spec)
}

/// Resolves the rotation that HunYuan calls dynamic: its base is multiplied by `alpha^(d / (d - 2))` for heads of `d`
/// values, whatever the length (NTK-aware scaling).
fn scaled_base(config: &Config) -> Result<Config, LoadError> {
    let Some(parameters) = hf::rope_parameters(config)? else { return Ok(config.clone()) };
    let kind = match parameters.text("rope_type")? {
        None => parameters.text("type")?,
        found => found,
    };
    let Some(alpha) = parameters.number("alpha")?.filter(|&alpha| kind == Some("dynamic") && alpha > 0.0)
    else {
        return Ok(config.clone());
    };
    let own_theta = match parameters.positive("rope_theta")? {
        None => config.positive("rope_theta")?,
        found => found,
    };
    let theta = own_theta.unwrap_or(10_000.0);
    let head_dim = config.require_count("head_dim", MAX_HEAD_DIM)? as f64;
    let scaled = theta * alpha.powf(head_dim / (head_dim - 2.0));
    if !scaled.is_finite() {
        return Err(unsupported("alpha", alpha, "the base of the rotation would not be finite".into()));
    }
    Ok(config.with(json!({
        "rope_parameters": null,
        "rope_scaling": null,
        "rope_theta": scaled,
        "max_position_embeddings": SCALED_CONTEXT_LEN,
    })))
}

/// GGUF architecture `hunyuan-dense`; its converter scales the base.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    normalize_rotated_heads(&mut spec);
    Ok(spec)
}
