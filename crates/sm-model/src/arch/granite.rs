//! Granite 3: Llama with multipliers for embedding, attention scores, residual branches and logits.

use sm_kernels::plan::RopePairs;

use super::{gguf, llama};
use crate::LoadError;
use crate::config::{Config, unsupported};
use crate::spec::DecoderSpec;

/// The multipliers; missing ones default to Llama's.
struct Multipliers {
    embedding: Option<f32>,
    attention: Option<f32>,
    residual: Option<f32>,
    /// Divisor of the logits.
    logits: Option<f32>,
}

fn multiply(mut spec: DecoderSpec, multipliers: &Multipliers) -> DecoderSpec {
    if let Some(embedding) = multipliers.embedding {
        spec.embedding.scale = embedding;
    }
    if let Some(scale) = multipliers.attention {
        spec.attentions_mut().for_each(|attention| attention.scale = scale);
    }
    if let Some(residual) = multipliers.residual {
        spec.layers.iter_mut().for_each(|layer| layer.residual_scale = residual);
    }
    if let Some(divisor) = multipliers.logits {
        spec.head.scale = 1.0 / divisor;
    }
    spec
}

/// `modeling_granite.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    let number = |key: &str| Ok::<_, LoadError>(config.positive(key)?.map(|value| value as f32));
    let multipliers = Multipliers {
        embedding: number("embedding_multiplier")?,
        // Unlike in Llama, scores are not scaled by default.
        attention: Some(number("attention_multiplier")?.unwrap_or(1.0)),
        residual: number("residual_multiplier")?,
        logits: number("logits_scaling")?,
    };
    Ok(multiply(llama::from_hf(config)?, &multipliers))
}

/// GGUF architecture `granite`, converted like `llama`.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    // In Granite, llama.cpp uses this key to disable the rotation.
    if config.get("rope.scaling.finetuned")? == Some(false) {
        let key = "granite.rope.scaling.finetuned";
        return Err(unsupported(key, false, "Granite without rotation is not supported".into()));
    }
    let multipliers = Multipliers {
        embedding: config.positive("embedding_scale")?,
        attention: config.positive("attention.scale")?,
        residual: config.positive("residual_scale")?,
        logits: config.positive("logit_scale")?,
    };
    Ok(multiply(gguf::decoder(config, RopePairs::Adjacent)?, &multipliers))
}
