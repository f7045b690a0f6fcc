//! What most `config.json` files have in common.

use sm_kernels::plan::{Activation, NormKind, RopePairs};

use crate::LoadError;
use crate::config::{Config, MAX_CONTEXT, MAX_EXTENT, MAX_HEAD_DIM, MAX_REPEATS, unsupported};
use crate::names::Naming;
use crate::spec::{
    AttentionSpec, Biases, DecoderSpec, EmbeddingSpec, FfnKind, FfnSpec, HeadSpec, LayerSpec, NormPlacement,
    NormSpec, RopeScaling, RopeSpec, longrope_attention_factor, yarn_attention_factor,
};

/// A decoder like Llama, without biases and windows; architectures change what they have of their own.
pub(super) fn decoder(config: &Config) -> Result<DecoderSpec, LoadError> {
    config
        .refuse("quantization_config", "only unquantized safetensors are read; use a GGUF file or --quant")?;
    config.refuse("rope_interleaved", "only rotations of halves are supported in Hugging Face models")?;
    config.refuse("mlp_bias", "gated feed-forward networks with biases are not supported")?;
    if let Some(factor) = config.number("partial_rotary_factor")?.filter(|&factor| factor != 1.0) {
        let reason = "this architecture rotates whole heads".into();
        return Err(unsupported("partial_rotary_factor", factor, reason));
    }
    let hidden_size = config.require_count("hidden_size", MAX_EXTENT)?;
    let n_layers = config.require_count("num_hidden_layers", MAX_REPEATS)?;
    let attention = attention(config, hidden_size)?;
    let ffn = FfnSpec {
        kind: FfnKind::Gated,
        ffn_size: config.require_count("intermediate_size", MAX_EXTENT)?,
        activation: activation(config)?,
    };
    let max_position = config.require_count("max_position_embeddings", MAX_CONTEXT)?;
    let rope = rope(config, attention.head_dim)?;
    Ok(DecoderSpec {
        architecture: "llama",
        vocab_size: config.require_count("vocab_size", MAX_EXTENT)?,
        hidden_size,
        max_context_len: rope.stretched_context_len(max_position),
        embedding: EmbeddingSpec { scale: 1.0, learned_positions: false },
        attention,
        norm: NormSpec {
            kind: NormKind::Rms,
            eps: config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            weight_offset: 0.0,
            placement: NormPlacement::Before,
        },
        ropes: vec![rope],
        layers: vec![LayerSpec { window: None, rope: Some(0), ffn }; n_layers],
        biases: Biases::default(),
        head: HeadSpec { tied: config.bool("tie_word_embeddings")?.unwrap_or(false), soft_cap: None },
        naming: Naming::hf(),
    })
}

fn attention(config: &Config, hidden_size: usize) -> Result<AttentionSpec, LoadError> {
    let n_heads = config.require_count("num_attention_heads", MAX_EXTENT)?;
    let head_dim = match config.count("head_dim", MAX_HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(n_heads) => hidden_size / n_heads,
        None => {
            return Err(unsupported("num_attention_heads", n_heads, format!("it must divide {hidden_size}")));
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(unsupported("head_dim", head_dim, "rotations need an even number".into()));
    }
    Ok(AttentionSpec {
        n_heads,
        n_kv_heads: config.count("num_key_value_heads", MAX_EXTENT)?.unwrap_or(n_heads),
        head_dim,
        scale: (1.0 / (head_dim as f64).sqrt()) as f32,
        soft_cap: None,
        qk_norm: false,
    })
}

/// The non-linearity that a name of transformers stands for.
pub(super) fn activation(config: &Config) -> Result<Activation, LoadError> {
    for key in ["hidden_activation", "hidden_act", "activation_function"] {
        match config.text(key)? {
            Some("silu" | "swish") => return Ok(Activation::Silu),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => return Ok(Activation::GeluTanh),
            Some("gelu") => return Ok(Activation::GeluErf),
            Some(other) => {
                let reason = "supported: silu, gelu, gelu_new, gelu_pytorch_tanh".into();
                return Err(unsupported(key, format!("{other:?}"), reason));
            }
            None => {}
        }
    }
    Ok(Activation::Silu)
}

/// The only rotation of a model, of `rotary_dim` values per head.
pub(super) fn rope(config: &Config, rotary_dim: usize) -> Result<RopeSpec, LoadError> {
    // transformers 5 renamed `rope_scaling` and moved the base into it.
    let parameters = match config.object("rope_parameters")? {
        None => config.object("rope_scaling")?,
        found => found,
    };
    let theta = match &parameters {
        Some(parameters) => parameters.positive("rope_theta")?,
        None => None,
    };
    let theta = match theta {
        None => config.positive("rope_theta")?.unwrap_or(10_000.0),
        Some(theta) => theta,
    };
    scaled_rope(config, parameters.as_ref(), theta, rotary_dim)
}

/// A rotation with the scaling that `parameters` describe.
pub(super) fn scaled_rope(
    config: &Config,
    parameters: Option<&Config>,
    theta: f64,
    rotary_dim: usize,
) -> Result<RopeSpec, LoadError> {
    let scaling = match parameters {
        Some(parameters) => scaling(config, parameters, rotary_dim)?,
        None => RopeScaling::None,
    };
    Ok(RopeSpec { theta, rotary_dim, pairs: RopePairs::Halves, scaling })
}

fn scaling(config: &Config, parameters: &Config, rotary_dim: usize) -> Result<RopeScaling, LoadError> {
    let kind = match parameters.text("rope_type")? {
        None => parameters.text("type")?,
        found => found,
    };
    match kind.unwrap_or("default") {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: required_factor(parameters)? as f32 }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: required_factor(parameters)? as f32,
            low_freq_factor: parameters.positive("low_freq_factor")?.unwrap_or(1.0) as f32,
            high_freq_factor: parameters.positive("high_freq_factor")?.unwrap_or(4.0) as f32,
            original_context_len: parameters
                .require_count("original_max_position_embeddings", MAX_CONTEXT)?,
        }),
        "yarn" => yarn(config, parameters),
        "longrope" | "su" => longrope(config, parameters, rotary_dim),
        other => {
            let reason = "supported: default, linear, llama3, yarn, longrope".into();
            Err(unsupported("rope_type", format!("{other:?}"), reason))
        }
    }
}

fn required_factor(parameters: &Config) -> Result<f64, LoadError> {
    parameters.positive("factor")?.ok_or_else(|| LoadError::MissingKey { key: "rope_scaling.factor".into() })
}

/// The context length of the training, where the configuration tells it apart.
fn original_context_len(config: &Config, parameters: &Config) -> Result<Option<usize>, LoadError> {
    const KEY: &str = "original_max_position_embeddings";
    Ok(match parameters.count(KEY, MAX_CONTEXT)? {
        None => config.count(KEY, MAX_CONTEXT)?,
        found => found,
    })
}

fn yarn(config: &Config, parameters: &Config) -> Result<RopeScaling, LoadError> {
    let max_position = config.require_count("max_position_embeddings", MAX_CONTEXT)?;
    let original_context_len = original_context_len(config, parameters)?.unwrap_or(max_position);
    let factor = match parameters.positive("factor")? {
        Some(factor) => factor,
        None => max_position as f64 / original_context_len as f64,
    };
    let mscale = parameters.positive("mscale")?.zip(parameters.positive("mscale_all_dim")?);
    let recommended = match mscale {
        Some((of_all, of_some)) => {
            yarn_attention_factor(factor, of_all) / yarn_attention_factor(factor, of_some)
        }
        None => yarn_attention_factor(factor, 1.0),
    };
    Ok(RopeScaling::Yarn {
        factor: factor as f32,
        beta_fast: parameters.positive("beta_fast")?.unwrap_or(32.0) as f32,
        beta_slow: parameters.positive("beta_slow")?.unwrap_or(1.0) as f32,
        original_context_len,
        attention_factor: parameters.positive("attention_factor")?.unwrap_or(recommended) as f32,
        truncate: parameters.bool("truncate")?.unwrap_or(true),
    })
}

fn longrope(config: &Config, parameters: &Config, rotary_dim: usize) -> Result<RopeScaling, LoadError> {
    let max_position = config.require_count("max_position_embeddings", MAX_CONTEXT)?;
    let original_context_len = original_context_len(config, parameters)?
        .ok_or_else(|| LoadError::MissingKey { key: "original_max_position_embeddings".into() })?;
    let factor = max_position as f64 / original_context_len as f64;
    let factor = parameters.positive("factor")?.unwrap_or(factor);
    let recommended = longrope_attention_factor(factor, original_context_len);
    let divisors = |key: &str| {
        let list = parameters.numbers(key)?.ok_or_else(|| LoadError::MissingKey { key: key.to_owned() })?;
        if list.len() == rotary_dim / 2 && list.iter().all(|&divisor| divisor > 0.0) {
            return Ok(list);
        }
        let reason = format!("a rotation of {rotary_dim} values needs {} positive divisors", rotary_dim / 2);
        Err(unsupported(key, format!("a list of {}", list.len()), reason))
    };
    Ok(RopeScaling::LongRope {
        short: divisors("short_factor")?,
        long: divisors("long_factor")?,
        original_context_len,
        attention_factor: parameters.positive("attention_factor")?.unwrap_or(recommended) as f32,
    })
}

/// Gives each layer a window: those that `layer_types` names, or else those that `is_sliding` picks by index.
pub(super) fn set_windows(
    spec: &mut DecoderSpec,
    config: &Config,
    is_sliding: impl Fn(usize) -> bool,
) -> Result<(), LoadError> {
    let window = config.count("sliding_window", MAX_CONTEXT)?;
    let types = config.texts("layer_types")?;
    if let Some(types) = &types
        && types.len() != spec.layers.len()
    {
        let reason = format!("the model has {} layers", spec.layers.len());
        return Err(unsupported("layer_types", format!("a list of {}", types.len()), reason));
    }
    for (index, layer) in spec.layers.iter_mut().enumerate() {
        let sliding = match types.as_ref().map(|types| types[index]) {
            None => is_sliding(index),
            Some("sliding_attention") => true,
            Some("full_attention") => false,
            Some(other) => {
                let reason = "supported: full_attention, sliding_attention".into();
                return Err(unsupported("layer_types", format!("{other:?}"), reason));
            }
        };
        layer.window = if sliding { window } else { None };
    }
    Ok(())
}
