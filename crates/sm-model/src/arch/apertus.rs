//! Apertus: a plain feed-forward network with the trainable xIELU activation, and query and key norms per head.

use serde_json::json;
use sm_kernels::plan::{Activation, RopePairs};

use super::{gguf, llama};
use crate::LoadError;
use crate::config::{Config, unsupported};
use crate::metadata::Value;
use crate::names::{Names, TensorKind};
use crate::spec::{DecoderSpec, FfnKind, QkNorm};
use crate::xielu::StoredXielu;

const NAMES: Names = &[
    (TensorKind::AttentionNorm, "layers.{l}.attention_layernorm"),
    (TensorKind::FfnNorm, "layers.{l}.feedforward_layernorm"),
];

fn differ_from_llama(spec: &mut DecoderSpec) {
    spec.attentions_mut().for_each(|attention| attention.qk_norm = Some(QkNorm::PerHead));
    spec.ffns_mut().for_each(|ffn| ffn.kind = FfnKind::Plain);
}

/// `modeling_apertus.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    config.refuse("post_norm", "norms after the blocks are not supported")?;
    let config = &config.or_defaults(json!({
        "hidden_act": "xielu", "rms_norm_eps": 1e-5, "rope_theta": 12e6,
    }));
    let mut spec = llama::from_hf(config)?;
    differ_from_llama(&mut spec);
    spec.naming = spec.naming.with(NAMES);
    Ok(spec)
}

/// GGUF architecture `apertus`, which keeps the rotation of halves.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    differ_from_llama(&mut spec);
    let activations = activations(config, spec.layers.len())?;
    for (ffn, activation) in spec.ffns_mut().zip(activations) {
        ffn.activation = activation;
    }
    Ok(spec)
}

/// The activation of each layer.
fn activations(config: &gguf::GgufConfig<'_>, n_layers: usize) -> Result<Vec<Activation>, LoadError> {
    // Unlike other keys, these have no prefix.
    let per_layer = |key: &str| -> Result<Vec<f32>, LoadError> {
        if !matches!(config.metadata.value(key), Some(Value::Array(_))) {
            return Ok(vec![config.metadata.require(key)?; n_layers]);
        }
        let values: &[f32] = config.metadata.require(key)?;
        if values.len() != n_layers {
            let reason = format!("the model has {n_layers} layers");
            return Err(unsupported(key, format!("a list of {}", values.len()), reason));
        }
        Ok(values.to_vec())
    };
    let alpha_p = per_layer("xielu.alpha_p")?;
    let alpha_n = per_layer("xielu.alpha_n")?;
    let beta = per_layer("xielu.beta")?;
    let eps = per_layer("xielu.eps")?;
    let of_layer = |layer: usize| {
        let stored = StoredXielu {
            alpha_p: alpha_p[layer],
            alpha_n: alpha_n[layer],
            beta: beta[layer],
            eps: eps[layer],
        };
        stored.activation()
    };
    Ok((0..n_layers).map(of_layer).collect())
}
