//! Qwen3 and Qwen3-MoE: Llama with normalized queries and keys; most layers of the latter have experts.

use sm_kernels::plan::RopePairs;

use super::{gguf, hf, qwen2, qwen2_moe};
use crate::LoadError;
use crate::config::Config;
use crate::spec::{AttentionBias, DecoderSpec, QkNorm};

fn normalize_heads(spec: &mut DecoderSpec, bias: AttentionBias) {
    for attention in spec.attentions_mut() {
        attention.qk_norm = Some(QkNorm::PerHead);
        attention.bias = bias;
    }
}

/// `modeling_qwen3.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = hf::decoder(config)?;
    qwen2::set_upper_windows(&mut spec, config)?;
    normalize_heads(&mut spec, hf::attention_bias(config)?);
    Ok(spec)
}

/// `modeling_qwen3_moe.py` of transformers.
pub(super) fn moe_from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = hf::decoder(config)?;
    if config.bool("use_sliding_window")?.unwrap_or(false) {
        hf::set_windows(&mut spec, config, |_| true)?;
    }
    normalize_heads(&mut spec, hf::attention_bias(config)?);
    qwen2_moe::set_experts(&mut spec, config, None)?;
    Ok(spec)
}

/// GGUF architectures `qwen3` and `qwen3moe`; the common metadata covers the experts.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    spec.attentions_mut().for_each(|attention| attention.qk_norm = Some(QkNorm::PerHead));
    Ok(spec)
}
