//! Qwen3 and Qwen3-MoE: Llama with normalised queries and keys, and experts in most layers of the latter.

use sm_kernels::plan::RopePairs;

use super::{gguf, hf, llama, qwen2};
use crate::LoadError;
use crate::config::{Config, MAX_EXTENT, MAX_REPEATS};
use crate::spec::{DecoderSpec, FfnKind};

/// `modeling_qwen3.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = hf::decoder(config)?;
    qwen2::set_upper_windows(&mut spec, config)?;
    spec.attention.qk_norm = true;
    spec.biases = llama::attention_bias(config)?;
    Ok(spec)
}

/// `modeling_qwen3_moe.py` of transformers.
pub(super) fn moe_from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = hf::decoder(config)?;
    if config.bool("use_sliding_window")?.unwrap_or(false) {
        hf::set_windows(&mut spec, config, |_| true)?;
    }
    spec.attention.qk_norm = true;
    spec.biases = llama::attention_bias(config)?;
    let kind = FfnKind::Experts {
        n_experts: config.require_count("num_experts", MAX_REPEATS)?,
        top_k: config.require_count("num_experts_per_tok", MAX_REPEATS)?,
        renormalize: config.bool("norm_topk_prob")?.unwrap_or(false),
    };
    let ffn_size = config.require_count("moe_intermediate_size", MAX_EXTENT)?;
    let step = config.count("decoder_sparse_step", MAX_REPEATS)?.unwrap_or(1);
    let dense = config.integers("mlp_only_layers")?.unwrap_or_default();
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        if (index + 1).is_multiple_of(step) && !dense.contains(&(index as u64)) {
            layer.ffn.kind = kind;
            layer.ffn.ffn_size = ffn_size;
        }
    }
    Ok(spec)
}

/// Files of llama.cpp's converter.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    spec.attention.qk_norm = true;
    Ok(spec)
}

/// As Qwen3; the experts are in the common metadata.
pub(super) fn moe_from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    from_gguf(config)
}
