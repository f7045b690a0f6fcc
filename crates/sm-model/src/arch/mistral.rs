//! Mistral: Llama with a sliding window.

use serde_json::json;

use super::hf;
use crate::LoadError;
use crate::config::Config;
use crate::spec::DecoderSpec;

/// `modeling_mistral.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let config = &config.or_defaults(json!({ "sliding_window": 4096, "num_key_value_heads": 8 }));
    let mut spec = hf::decoder(config)?;
    hf::set_windows(&mut spec, config, |_| true)?;
    Ok(spec)
}
