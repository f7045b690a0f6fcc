//! GPT-2: layer norms with bias, learned positions, a plain feed-forward network, biases everywhere.
//!
//! Also the architecture of `.smnd` checkpoints.

use sm_kernels::plan::{Activation, NormKind};

use super::{gguf, hf};
use crate::LoadError;
use crate::config::{Config, MAX_CONTEXT, MAX_EXTENT, MAX_REPEATS, unsupported};
use crate::load::smnd::SmndConfig;
use crate::names::{LinearLayout, Names, Naming, TensorKind};
use crate::spec::{
    AttentionBias, AttentionSpec, DecoderSpec, EmbeddingSpec, FfnKind, FfnSpec, HeadSpec, LayerSpec, NormSpec,
};

const NAMES: Names = &[
    (TensorKind::Embedding, "wte"),
    (TensorKind::Positions, "wpe"),
    (TensorKind::OutputNorm, "ln_f"),
    (TensorKind::AttentionNorm, "h.{l}.ln_1"),
    (TensorKind::Qkv, "h.{l}.attn.c_attn"),
    (TensorKind::AttentionOut, "h.{l}.attn.c_proj"),
    (TensorKind::FfnNorm, "h.{l}.ln_2"),
    (TensorKind::Up, "h.{l}.mlp.c_fc"),
    (TensorKind::Down, "h.{l}.mlp.c_proj"),
];

/// The parameters of this architecture.
struct Shape {
    vocab_size: usize,
    hidden_size: usize,
    n_heads: usize,
    n_layers: usize,
    context_len: usize,
    ffn_size: usize,
}

fn decoder(shape: &Shape, naming: Naming) -> Result<DecoderSpec, LoadError> {
    let &Shape { vocab_size, hidden_size, n_heads, n_layers, context_len, ffn_size } = shape;
    if n_heads == 0 || !hidden_size.is_multiple_of(n_heads) {
        let reason = format!("it must divide the hidden size {hidden_size}");
        return Err(unsupported("number of heads", n_heads, reason));
    }
    let attention = AttentionSpec {
        bias: AttentionBias { qkv: true, out: true },
        ..AttentionSpec::new(n_heads, n_heads, hidden_size / n_heads)
    };
    let ffn = FfnSpec { kind: FfnKind::Plain, ffn_size, activation: Activation::GeluTanh, bias: true };
    Ok(DecoderSpec {
        architecture: "gpt2",
        vocab_size,
        hidden_size,
        max_context_len: context_len,
        embedding: EmbeddingSpec { scale: 1.0, learned_positions: true },
        norm: NormSpec { kind: NormKind::Layer, eps: 1e-5, weight_offset: 0.0 },
        layers: vec![LayerSpec::new(attention, ffn); n_layers],
        head: HeadSpec::new(true),
        naming,
    })
}

/// `modeling_gpt2.py` of transformers.
pub(super) fn from_hf(config: &Config) -> Result<DecoderSpec, LoadError> {
    config.refuse("scale_attn_by_inverse_layer_idx", "scores scaled by layer index are not supported")?;
    config.refuse("add_cross_attention", "cross attention is not supported")?;
    if config.bool("scale_attn_weights")? == Some(false) {
        return Err(unsupported("scale_attn_weights", false, "unscaled scores are not supported".into()));
    }
    let hidden_size = config.require_count("n_embd", MAX_EXTENT)?;
    let shape = Shape {
        vocab_size: config.require_count("vocab_size", MAX_EXTENT)?,
        hidden_size,
        n_heads: config.require_count("n_head", MAX_EXTENT)?,
        n_layers: config.require_count("n_layer", MAX_REPEATS)?,
        context_len: config.require_count("n_positions", MAX_CONTEXT)?,
        ffn_size: config.count("n_inner", MAX_EXTENT)?.unwrap_or(4 * hidden_size),
    };
    let mut naming = Naming::hf().with(NAMES);
    naming.linear = LinearLayout::InOut;
    let mut spec = decoder(&shape, naming)?;
    if config.value("activation_function").is_some() {
        let activation = hf::activation(config)?;
        spec.ffns_mut().for_each(|ffn| ffn.activation = activation);
    }
    spec.norm.eps = config.number("layer_norm_epsilon")?.unwrap_or(1e-5) as f32;
    spec.head.tied = config.bool("tie_word_embeddings")?.unwrap_or(true);
    Ok(spec)
}

/// GGUF architecture `gpt2`; its converter transposes the matrices.
pub(super) fn from_gguf(config: &gguf::GgufConfig<'_>) -> Result<DecoderSpec, LoadError> {
    let shape = Shape {
        vocab_size: gguf::vocab_size(config)?,
        hidden_size: config.require_count("embedding_length", MAX_EXTENT)?,
        n_heads: config.require_count("attention.head_count", MAX_EXTENT)?,
        n_layers: config.require_count("block_count", MAX_REPEATS)?,
        context_len: config.require_count("context_length", MAX_CONTEXT)?,
        ffn_size: config.require_count("feed_forward_length", MAX_EXTENT)?,
    };
    let mut spec = decoder(&shape, Naming::gguf())?;
    spec.norm.eps = config.positive("attention.layer_norm_epsilon")?.unwrap_or(1e-5);
    spec.head.tied = !config.tensors.contains("output.weight");
    Ok(spec)
}

/// `.smnd` checkpoints; their tensors get GGUF names.
pub(super) fn from_smnd(config: &SmndConfig) -> Result<DecoderSpec, LoadError> {
    let shape = Shape {
        vocab_size: config.vocab_size,
        hidden_size: config.embed_dim,
        n_heads: config.num_heads,
        n_layers: config.num_layers,
        context_len: config.block_size,
        ffn_size: config.ffn_hidden_dim,
    };
    let mut spec = decoder(&shape, Naming::gguf())?;
    spec.head.tied = false;
    Ok(spec)
}
