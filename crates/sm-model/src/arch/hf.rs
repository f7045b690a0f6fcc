//! Fields shared by most Hugging Face `config.json` files.
//!
//! Fields and defaults are those of transformers' `LlamaConfig`. A field that enables an unsupported feature is rejected,
//! never ignored. Both spellings of rotary settings are read: `rope_theta` with `rope_scaling` (transformers 4), and
//! `rope_parameters` (transformers 5).

use sm_kernels::plan::{Activation, NormKind, RopePairs};

use crate::LoadError;
use crate::config::{Config, MAX_CONTEXT, MAX_EXTENT, MAX_HEAD_DIM, MAX_REPEATS, unsupported};
use crate::names::Naming;
use crate::spec::{
    AttentionBias, AttentionSpec, DecoderSpec, EmbeddingSpec, FfnSpec, HeadSpec, LayerSpec, NormSpec,
    RopeScaling, RopeSpec, longrope_attention_factor, yarn_attention_factor,
};
use crate::xielu::StoredXielu;

/// A Llama-like decoder without biases and windows; architectures change what differs.
pub(super) fn decoder(config: &Config) -> Result<DecoderSpec, LoadError> {
    if let Some(factor) = config.number("partial_rotary_factor")?.filter(|&factor| factor != 1.0) {
        let reason = "this architecture rotates whole heads".into();
        return Err(unsupported("partial_rotary_factor", factor, reason));
    }
    partly_rotated_decoder(config, 1.0)
}

/// The fraction of a head's values that rotate, if the configuration says.
pub(super) fn rotated_fraction(config: &Config) -> Result<Option<f64>, LoadError> {
    let in_rope = match config.object("rope_parameters")? {
        Some(parameters) => parameters.positive("partial_rotary_factor")?,
        None => None,
    };
    match in_rope {
        None => config.positive("partial_rotary_factor"),
        found => Ok(found),
    }
}

/// As [`decoder`], but rotating only this fraction of each head's values.
pub(super) fn partly_rotated_decoder(config: &Config, rotated: f64) -> Result<DecoderSpec, LoadError> {
    config.refuse("rope_interleaved", "only rotation of halves is supported in Hugging Face models")?;
    config.refuse("mlp_bias", "gated feed-forward networks with biases are not supported")?;
    let hidden_size = config.require_count("hidden_size", MAX_EXTENT)?;
    let n_layers = config.require_count("num_hidden_layers", MAX_REPEATS)?;
    let max_position = config.require_count("max_position_embeddings", MAX_CONTEXT)?;
    let mut attention = attention(config, hidden_size)?;
    let rope = rope(config, rotary_dim(attention.head_dim, rotated)?)?;
    let max_context_len = rope.stretched_context_len(max_position);
    attention.rope = Some(rope);
    let ffn_size = config.require_count("intermediate_size", MAX_EXTENT)?;
    let layer = LayerSpec::new(attention, FfnSpec::gated(ffn_size, activation(config)?));
    let eps = config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32;
    Ok(DecoderSpec {
        architecture: "llama",
        vocab_size: config.require_count("vocab_size", MAX_EXTENT)?,
        hidden_size,
        max_context_len,
        embedding: EmbeddingSpec { scale: 1.0, learned_positions: false },
        norm: NormSpec { kind: NormKind::Rms, eps, weight_offset: 0.0 },
        layers: vec![layer; n_layers],
        head: HeadSpec::new(config.bool("tie_word_embeddings")?.unwrap_or(false)),
        naming: Naming::hf(),
    })
}

fn attention(config: &Config, hidden_size: usize) -> Result<AttentionSpec, LoadError> {
    let n_heads = config.require_count("num_attention_heads", MAX_EXTENT)?;
    let head_dim = match config.count("head_dim", MAX_HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(n_heads) => hidden_size / n_heads,
        None => {
            let reason = format!("it must divide the hidden size {hidden_size}");
            return Err(unsupported("num_attention_heads", n_heads, reason));
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(unsupported("head_dim", head_dim, "rotation needs an even number".into()));
    }
    let n_kv_heads = config.count("num_key_value_heads", MAX_EXTENT)?.unwrap_or(n_heads);
    Ok(AttentionSpec::new(n_heads, n_kv_heads, head_dim))
}

/// Number of rotated values per head.
fn rotary_dim(head_dim: usize, fraction: f64) -> Result<usize, LoadError> {
    let rotary_dim = (head_dim as f64 * fraction) as usize;
    if !(1..=head_dim).contains(&rotary_dim) || !rotary_dim.is_multiple_of(2) {
        let reason = format!("it would rotate {rotary_dim} of {head_dim} values, which must be even");
        return Err(unsupported("partial_rotary_factor", fraction, reason));
    }
    Ok(rotary_dim)
}

/// The biases enabled by `attention_bias`: those of all linear maps of the attention.
pub(super) fn attention_bias(config: &Config) -> Result<AttentionBias, LoadError> {
    let has_bias = config.bool("attention_bias")?.unwrap_or(false);
    Ok(AttentionBias { qkv: has_bias, out: has_bias })
}

/// The non-linearity; transformers has three keys for its name.
pub(super) fn activation(config: &Config) -> Result<Activation, LoadError> {
    for key in ["hidden_activation", "hidden_act", "activation_function"] {
        match config.text(key)? {
            Some("silu" | "swish") => return Ok(Activation::Silu),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => return Ok(Activation::GeluTanh),
            Some("gelu") => return Ok(Activation::GeluErf),
            // Its trained parameters are tensors, read once their names are known.
            Some("xielu") => return Ok(StoredXielu::INITIAL.activation()),
            Some(other) => {
                let reason = "supported: silu, gelu, gelu_new, gelu_pytorch_tanh, xielu".into();
                return Err(unsupported(key, format!("{other:?}"), reason));
            }
            None => {}
        }
    }
    Ok(Activation::Silu)
}

/// The parameters of the rotation besides its base in old configurations, if there are any.
pub(super) fn rope_parameters(config: &Config) -> Result<Option<Config>, LoadError> {
    match config.object("rope_parameters")? {
        None => config.object("rope_scaling"),
        found => Ok(found),
    }
}

/// A rotation of `rotary_dim` values per head, the same in all layers.
fn rope(config: &Config, rotary_dim: usize) -> Result<RopeSpec, LoadError> {
    let parameters = rope_parameters(config)?;
    let own_theta = match &parameters {
        Some(parameters) => parameters.positive("rope_theta")?,
        None => None,
    };
    let theta = match own_theta {
        None => config.positive("rope_theta")?.unwrap_or(10_000.0),
        Some(theta) => theta,
    };
    scaled_rope(config, parameters.as_ref(), theta, rotary_dim)
}

/// A rotation with the scaling given by `parameters`.
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

/// The trained context length, if the configuration distinguishes it from the supported one.
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
        Some((mscale, mscale_all_dim)) => {
            yarn_attention_factor(factor, mscale) / yarn_attention_factor(factor, mscale_all_dim)
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
        Err(unsupported(key, format!("a list of {} numbers", list.len()), reason))
    };
    Ok(RopeScaling::LongRope {
        short: divisors("short_factor")?,
        long: divisors("long_factor")?,
        original_context_len,
        attention_factor: parameters.positive("attention_factor")?.unwrap_or(recommended) as f32,
    })
}

/// Rotates neighbouring values, as a few architectures do in Hugging Face models too.
pub(super) fn rotate_neighbours(spec: &mut DecoderSpec) {
    for rope in spec.attentions_mut().filter_map(|attention| attention.rope.as_mut()) {
        rope.pairs = RopePairs::Adjacent;
    }
}

/// Sets the window of each layer, by `layer_types` or, without it, by `is_sliding` of the layer index.
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
        let Some(attention) = layer.mixer.attention_mut() else { continue };
        let is_sliding = match types.as_ref().map(|types| types[index]) {
            None => is_sliding(index),
            Some("sliding_attention") => true,
            Some("full_attention") => false,
            Some(other) => {
                let reason = "supported: full_attention, sliding_attention".into();
                return Err(unsupported("layer_types", format!("{other:?}"), reason));
            }
        };
        attention.window = if is_sliding { window } else { None };
    }
    Ok(())
}
