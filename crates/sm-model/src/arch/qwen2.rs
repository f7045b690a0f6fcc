//! Qwen2 and Qwen2.5: Llama with biases on q, k and v, and optional windows in the upper layers.

use sm_kernels::plan::RopePairs;

use super::{gguf, hf};
use crate::LoadError;
use crate::config::Config;
use crate::spec::{AttentionBias, DecoderSpec};

/// `modeling_qwen2.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = hf::decoder(config)?;
    set_upper_windows(&mut spec, config)?;
    spec.attentions_mut().for_each(|attention| attention.bias = AttentionBias { qkv: true, out: false });
    Ok(spec)
}

/// Adds a window to the layers from `max_window_layers` on, if `use_sliding_window` is set.
pub(super) fn set_upper_windows(spec: &mut DecoderSpec, config: &Config) -> Result<(), LoadError> {
    if !config.bool("use_sliding_window")?.unwrap_or(false) {
        return Ok(());
    }
    let first = config.integers("max_window_layers")?.and_then(|list| list.first().copied()).unwrap_or(28);
    hf::set_windows(spec, config, |layer| layer as u64 >= first)
}

/// GGUF architecture `qwen2`.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    gguf::decoder(config, RopePairs::Halves)
}
