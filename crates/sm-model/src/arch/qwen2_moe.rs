//! Qwen2-MoE (Qwen1.5-MoE, Qwen2-57B-A14B): Qwen2 with experts in most layers, and one more that every token uses, behind
//! a gate.

use sm_kernels::plan::RopePairs;

use super::{gguf, hf, qwen2};
use crate::LoadError;
use crate::config::{Config, MAX_EXTENT, MAX_REPEATS};
use crate::spec::{AttentionBias, DecoderSpec, ExpertsSpec, FfnKind, SharedExpertSpec};

/// `modeling_qwen2_moe.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = hf::decoder(config)?;
    qwen2::set_upper_windows(&mut spec, config)?;
    let qkv = config.bool("qkv_bias")?.unwrap_or(true);
    spec.attentions_mut().for_each(|attention| attention.bias = AttentionBias { qkv, out: false });
    let ffn_size = config.require_count("shared_expert_intermediate_size", MAX_EXTENT)?;
    set_experts(&mut spec, config, Some(SharedExpertSpec { ffn_size, is_gated: true }))?;
    Ok(spec)
}

/// Gives every `decoder_sparse_step`-th layer experts, except those in `mlp_only_layers`.
pub(super) fn set_experts(
    spec: &mut DecoderSpec,
    config: &Config,
    shared: Option<SharedExpertSpec>,
) -> Result<(), LoadError> {
    let experts = ExpertsSpec {
        n_experts: config.require_count("num_experts", MAX_REPEATS)?,
        top_k: config.require_count("num_experts_per_tok", MAX_REPEATS)?,
        renormalize: config.bool("norm_topk_prob")?.unwrap_or(false),
        shared,
    };
    let ffn_size = config.require_count("moe_intermediate_size", MAX_EXTENT)?;
    let step = config.count("decoder_sparse_step", MAX_REPEATS)?.unwrap_or(1);
    let dense = config.integers("mlp_only_layers")?.unwrap_or_default();
    for (index, ffn) in spec.ffns_mut().enumerate() {
        if (index + 1).is_multiple_of(step) && !dense.contains(&(index as u64)) {
            ffn.kind = FfnKind::Experts(experts);
            ffn.ffn_size = ffn_size;
        }
    }
    Ok(())
}

/// GGUF architecture `qwen2moe`. Every layer has experts, and llama.cpp never renormalizes their weights.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Halves)?;
    let ffn_size = match config.count("expert_shared_feed_forward_length", MAX_EXTENT)? {
        Some(ffn_size) => ffn_size,
        None => config.require_count("feed_forward_length", MAX_EXTENT)?,
    };
    let renormalize = config.get("expert_weights_norm")?.unwrap_or(false);
    // Old files give only the width of all experts that a token uses together.
    let has_own_width = config.count("expert_feed_forward_length", MAX_EXTENT)?.is_some();
    for ffn in spec.ffns_mut() {
        if let FfnKind::Experts(experts) = &mut ffn.kind {
            if !has_own_width {
                ffn.ffn_size /= experts.top_k;
            }
            experts.renormalize = renormalize;
            experts.shared = Some(SharedExpertSpec { ffn_size, is_gated: true });
        }
    }
    Ok(spec)
}
