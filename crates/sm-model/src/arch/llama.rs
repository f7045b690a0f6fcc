//! Llama 2, 3, 3.1 and 3.2, SmolLM, and models that share their GGUF architecture: Mistral and Mixtral.

use sm_kernels::plan::RopePairs;

use super::{gguf, hf};
use crate::LoadError;
use crate::config::Config;
use crate::spec::DecoderSpec;

/// `modeling_llama.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let mut spec = hf::decoder(config)?;
    let bias = hf::attention_bias(config)?;
    spec.attentions_mut().for_each(|attention| attention.bias = bias);
    Ok(spec)
}

/// GGUF architecture `llama`. Its converter permutes the rows of q and k (`LlamaModel.permute`) from rotated halves to
/// rotated neighbours, as in Meta's original files.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    gguf::decoder(config, RopePairs::Adjacent)
}
