//! Mistral: Llama with a sliding window. Ministral 3 has none, and scales queries by their position instead.

use serde_json::json;
use sm_kernels::plan::{QueryScale, RopePairs};

use super::{gguf, hf};
use crate::LoadError;
use crate::config::{Config, MAX_CONTEXT};
use crate::spec::DecoderSpec;

/// `modeling_mistral.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let config = &config.or_defaults(json!({ "sliding_window": 4096, "num_key_value_heads": 8 }));
    let mut spec = hf::decoder(config)?;
    hf::set_windows(&mut spec, config, |_| true)?;
    Ok(spec)
}

/// `modeling_ministral3.py` of transformers, without the vision tower; also the text model of Mistral Small 3.1
/// (`mistral3`), whose queries are not scaled.
pub(super) fn ministral3_from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let config = &config.or_defaults(json!({ "sliding_window": null, "rms_norm_eps": 1e-5 }));
    let mut spec = from_hf(config)?;
    let Some(parameters) = hf::rope_parameters(config)? else { return Ok(spec) };
    if let Some(beta) = parameters.number("llama_4_scaling_beta")?.filter(|&beta| beta != 0.0) {
        let interval = parameters.require_count("original_max_position_embeddings", MAX_CONTEXT)?;
        scale_queries(&mut spec, QueryScale { beta: beta as f32, interval });
    }
    Ok(spec)
}

fn scale_queries(spec: &mut DecoderSpec, scale: QueryScale) {
    spec.attentions_mut().for_each(|attention| attention.q_scale = Some(scale));
}

/// GGUF architecture `mistral3`, converted like `llama`.
pub(super) fn mistral3_from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let mut spec = gguf::decoder(config, RopePairs::Adjacent)?;
    if let Some(beta) = config.get::<f32>("attention.temperature_scale")?.filter(|&beta| beta != 0.0) {
        let interval = config.require_count("rope.scaling.original_context_length", MAX_CONTEXT)?;
        scale_queries(&mut spec, QueryScale { beta, interval });
    }
    Ok(spec)
}
