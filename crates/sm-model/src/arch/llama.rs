//! Llama 2, 3, 3.1 and 3.2, SmolLM, and what shares their GGUF architecture: Mistral and Mixtral.

use sm_kernels::plan::RopePairs;

use super::{gguf, hf};
use crate::LoadError;
use crate::config::Config;
use crate::spec::{Biases, DecoderSpec};

/// `modeling_llama.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = hf::decoder(config)?;
    spec.biases = attention_bias(config)?;
    Ok(spec)
}

/// Biases of all maps of the attention, where `attention_bias` says so.
pub(super) fn attention_bias(config: &Config) -> Result<Biases, LoadError> {
    let has_bias = config.bool("attention_bias")?.unwrap_or(false);
    Ok(Biases { qkv: has_bias, attention_out: has_bias, ffn: false })
}

/// The converter of llama.cpp reorders the rows of q and k so that neighbours are rotated together.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    gguf::decoder(config, RopePairs::Adjacent)
}
