//! OLMo 2: Llama with post-norms instead of pre-norms, and query and key norms over all heads.

use serde_json::json;
use sm_kernels::plan::RopePairs;

use super::{gguf, llama};
use crate::LoadError;
use crate::config::Config;
use crate::names::{Names, TensorKind};
use crate::spec::{DecoderSpec, NormPlacement, QkNorm};

const NAMES: Names = &[
    (TensorKind::AttentionPostNorm, "layers.{l}.post_attention_layernorm"),
    (TensorKind::FfnPostNorm, "layers.{l}.post_feedforward_layernorm"),
];

fn reorder_norms(spec: &mut DecoderSpec) {
    for layer in &mut spec.layers {
        layer.norms = NormPlacement::After;
    }
    spec.attentions_mut().for_each(|attention| attention.qk_norm = Some(QkNorm::AllHeads));
}

/// `modeling_olmo2.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = llama::from_hf(&config.or_defaults(json!({ "rms_norm_eps": 1e-5 })))?;
    reorder_norms(&mut spec);
    spec.naming = spec.naming.with(NAMES);
    Ok(spec)
}

/// GGUF architecture `olmo2`, which OLMo 3 shares.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    config.refuse("attention.sliding_window", "OLMo 3, whose layers have windows, is not supported")?;
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    reorder_norms(&mut spec);
    Ok(spec)
}
