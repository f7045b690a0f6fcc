//! SmolLM3: Llama without rotation in every fourth layer ("NoPE", <https://arxiv.org/abs/2501.18795>), where it may have a window.

use serde_json::json;
use sm_kernels::plan::RopePairs;

use super::{gguf, hf, llama};
use crate::LoadError;
use crate::config::{Config, MAX_REPEATS, unsupported};
use crate::spec::DecoderSpec;

/// By default, every fourth layer does not rotate.
const NO_ROPE_INTERVAL: usize = 4;

/// `modeling_smollm3.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let config = &config.or_defaults(json!({
        "num_key_value_heads": 4, "rope_theta": 2e6, "tie_word_embeddings": true,
    }));
    let mut spec = llama::from_hf(config)?;
    let rotates = rotating_layers(config, spec.layers.len())?;
    if config.bool("use_sliding_window")?.unwrap_or(false) {
        hf::set_windows(&mut spec, config, |layer| !rotates[layer])?;
    }
    keep_rotation(&mut spec, |layer| rotates[layer]);
    Ok(spec)
}

/// Which layers rotate: despite its name, `no_rope_layers` is 1 for those that do.
fn rotating_layers(config: &Config, n_layers: usize) -> Result<Vec<bool>, LoadError> {
    let Some(flags) = config.integers("no_rope_layers")? else {
        let interval = config.count("no_rope_layer_interval", MAX_REPEATS)?.unwrap_or(NO_ROPE_INTERVAL);
        return Ok((0..n_layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect());
    };
    if flags.len() != n_layers {
        let reason = format!("the model has {n_layers} layers");
        return Err(unsupported("no_rope_layers", format!("a list of {}", flags.len()), reason));
    }
    Ok(flags.iter().map(|&flag| flag != 0).collect())
}

fn keep_rotation(spec: &mut DecoderSpec, rotates: impl Fn(usize) -> bool) {
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        if let Some(attention) = layer.mixer.attention_mut().filter(|_| !rotates(index)) {
            attention.rope = None;
        }
    }
}

/// GGUF architecture `smollm3`. The metadata lack the interval, so it is fixed, as in llama.cpp.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Adjacent)?;
    keep_rotation(&mut spec, |layer| !(layer + 1).is_multiple_of(NO_ROPE_INTERVAL));
    Ok(spec)
}
