//! OLMo 2: Llama with post-norms instead of pre-norms, and query and key norms over all heads. OLMo 3 adds windows in
//! three of four layers, whose rotation is not scaled.

use serde_json::json;
use sm_kernels::plan::RopePairs;

use super::{gguf, hf, llama};
use crate::LoadError;
use crate::config::Config;
use crate::names::{Names, TensorKind};
use crate::spec::{DecoderSpec, NormPlacement, QkNorm, RopeScaling};

const NAMES: Names = &[
    (TensorKind::AttentionPostNorm, "layers.{l}.post_attention_layernorm"),
    (TensorKind::FfnPostNorm, "layers.{l}.post_feedforward_layernorm"),
];
/// By default, every fourth layer of OLMo 3 attends to the whole context.
const FULL_INTERVAL: usize = 4;

fn reorder_norms(spec: &mut DecoderSpec) {
    for layer in &mut spec.layers {
        layer.norms = NormPlacement::After;
    }
    spec.attentions_mut().for_each(|attention| attention.qk_norm = Some(QkNorm::AllHeads));
}

/// Layers with a window rotate without scaling, by a base of their own if there is one.
fn unscale_windowed_ropes(spec: &mut DecoderSpec, theta: Option<f64>) {
    for rope in spec.windowed_ropes_mut() {
        rope.scaling = RopeScaling::None;
        rope.theta = theta.unwrap_or(rope.theta);
    }
}

/// `modeling_olmo2.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = llama::from_hf(&config.or_defaults(json!({ "rms_norm_eps": 1e-5 })))?;
    reorder_norms(&mut spec);
    spec.naming = spec.naming.with(NAMES);
    Ok(spec)
}

/// `modeling_olmo3.py` of transformers.
pub(super) fn olmo3_from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut config = config.or_defaults(json!({ "sliding_window": 4096 }));
    // transformers 5 has separate parameters for each kind of layer.
    let by_kind = config.object("rope_parameters")?;
    let of_kind = |kind: &str| by_kind.as_ref().and_then(|by_kind| by_kind.value(kind));
    if let Some(full) = of_kind("full_attention") {
        config = config.with(json!({ "rope_parameters": full }));
    }
    let config = &config;
    let mut spec = from_hf(config)?;
    hf::set_windows(&mut spec, config, |layer| !(layer + 1).is_multiple_of(FULL_INTERVAL))?;
    let local_theta = match by_kind.map(|by_kind| by_kind.object("sliding_attention")).transpose()?.flatten()
    {
        Some(local) => local.positive("rope_theta")?,
        None => None,
    };
    unscale_windowed_ropes(&mut spec, local_theta);
    Ok(spec)
}

/// GGUF architecture `olmo2`, which OLMo 3 shares: its files have a window.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    reorder_norms(&mut spec);
    gguf::set_windows(&mut spec, config, None, FULL_INTERVAL)?;
    let local_theta = config.positive("rope.freq_base_swa")?.map(f64::from);
    unscale_windowed_ropes(&mut spec, local_theta);
    Ok(spec)
}
