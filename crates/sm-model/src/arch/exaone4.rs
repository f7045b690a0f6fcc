//! EXAONE 4: Llama with post-norms instead of pre-norms, and query and key norms per head. The large model has windows in
//! three of four layers; its other layers attend to the whole context without rotation ("NoPE",
//! <https://arxiv.org/abs/2501.18795>).

use serde_json::json;
use sm_kernels::plan::RopePairs;

use super::{gguf, hf};
use crate::LoadError;
use crate::config::{Config, MAX_REPEATS};
use crate::names::{Names, TensorKind};
use crate::spec::{DecoderSpec, NormPlacement, QkNorm};

const NAMES: Names = &[
    (TensorKind::AttentionPostNorm, "layers.{l}.post_attention_layernorm"),
    (TensorKind::FfnPostNorm, "layers.{l}.post_feedforward_layernorm"),
];
/// By default, every fourth layer attends to the whole context.
const FULL_INTERVAL: usize = 4;

fn reorder_norms(spec: &mut DecoderSpec) {
    spec.layers.iter_mut().for_each(|layer| layer.norms = NormPlacement::After);
    spec.attentions_mut().for_each(|attention| attention.qk_norm = Some(QkNorm::PerHead));
}

/// Removes the rotation of layers without a window.
fn rotate_windows_only(spec: &mut DecoderSpec) {
    let full = spec.attentions_mut().filter(|attention| attention.window.is_none());
    full.for_each(|attention| attention.rope = None);
}

/// `modeling_exaone4.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let config = &config.or_defaults(json!({ "rms_norm_eps": 1e-5, "sliding_window": 4096 }));
    let mut spec = hf::decoder(config)?;
    reorder_norms(&mut spec);
    spec.naming = spec.naming.with(NAMES);
    if config.value("sliding_window").is_none() {
        return Ok(spec);
    }
    // Where the layers are listed, the pattern may be a text such as "LLLG".
    let period = match config.value("layer_types") {
        Some(_) => None,
        None => config.count("sliding_window_pattern", MAX_REPEATS)?,
    };
    let period = period.unwrap_or(FULL_INTERVAL);
    hf::set_windows(&mut spec, config, |layer| !(layer + 1).is_multiple_of(period))?;
    rotate_windows_only(&mut spec);
    Ok(spec)
}

/// GGUF architecture `exaone4`.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    reorder_norms(&mut spec);
    gguf::set_windows(&mut spec, config, None, FULL_INTERVAL)?;
    if spec.attentions().any(|attention| attention.window.is_some()) {
        rotate_windows_only(&mut spec);
    }
    Ok(spec)
}
