//! ERNIE 4.5 (dense): Llama that rotates neighbouring values.

use serde_json::json;
use sm_kernels::plan::RopePairs;

use super::{gguf, hf};
use crate::LoadError;
use crate::config::{Config, unsupported};
use crate::spec::DecoderSpec;

/// `modeling_ernie4_5.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    config.refuse("use_bias", "biases are not supported")?;
    if let Some(ratio) = config.number("compression_ratio")?.filter(|&ratio| ratio != 1.0) {
        return Err(unsupported("compression_ratio", ratio, "compressed positions are not supported".into()));
    }
    let config = &config.or_defaults(json!({
        "head_dim": 128, "rms_norm_eps": 1e-5, "rope_theta": 5e5, "tie_word_embeddings": true,
    }));
    let mut spec = hf::decoder(config)?;
    hf::rotate_neighbours(&mut spec);
    Ok(spec)
}

/// GGUF architecture `ernie4_5`.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    gguf::decoder(config, RopePairs::Adjacent)
}
