//! Metadata shared by most GGUF files.
//!
//! Keys are `ARCHITECTURE.name`, listed in `gguf-py/gguf/constants.py` of llama.cpp and in the GGUF specification
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>). Metadata says less than `config.json`: biases and tied
//! embeddings are inferred from the list of tensors.

use sm_kernels::plan::{Activation, NormKind, RopePairs};
use sm_tensor::DType;

use crate::LoadError;
use crate::config::{MAX_CONTEXT, MAX_EXTENT, MAX_HEAD_DIM, MAX_REPEATS, unsupported};
use crate::load::tensors::Tensors;
use crate::metadata::{FromValue, Metadata, Value};
use crate::names::Naming;
use crate::spec::{
    AttentionBias, AttentionSpec, DecoderSpec, EmbeddingSpec, ExpertsSpec, FfnKind, FfnSpec, HeadSpec,
    LayerSpec, NormSpec, RopeScaling, RopeSpec, yarn_attention_factor,
};

/// The metadata of one architecture, whose prefix is added to each key, and the tensors.
pub(super) struct GgufConfig<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) tensors: &'a Tensors,
    pub(super) architecture: &'a str,
}

impl<'a> GgufConfig<'a> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    pub(super) fn get<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>, LoadError> {
        self.metadata.get(&self.key(key))
    }

    /// An integer from 0 to `max`; `None` if absent.
    fn number_up_to(&self, key: &str, max: usize) -> Result<Option<usize>, LoadError> {
        match self.get::<usize>(key)? {
            Some(found) if found > max => {
                Err(unsupported(&self.key(key), found, format!("it must be at most {max}")))
            }
            found => Ok(found),
        }
    }

    /// An integer from 1 to `max`; `None` if absent.
    pub(super) fn count(&self, key: &str, max: usize) -> Result<Option<usize>, LoadError> {
        match self.number_up_to(key, max)? {
            Some(0) => Err(unsupported(&self.key(key), 0, format!("it must be in 1..={max}"))),
            found => Ok(found),
        }
    }

    /// An integer from 1 to `max`, which must be present.
    pub(super) fn require_count(&self, key: &str, max: usize) -> Result<usize, LoadError> {
        self.count(key, max)?.ok_or_else(|| LoadError::MissingKey { key: self.key(key) })
    }

    /// A positive number; `None` if absent.
    pub(super) fn positive(&self, key: &str) -> Result<Option<f32>, LoadError> {
        match self.get::<f32>(key)? {
            Some(found) if !(found.is_finite() && found > 0.0) => {
                Err(unsupported(&self.key(key), found, "it must be positive".into()))
            }
            found => Ok(found),
        }
    }

    /// An integer from 1 to `max`; `None` if absent or 0.
    pub(super) fn count_or_zero(&self, key: &str, max: usize) -> Result<Option<usize>, LoadError> {
        Ok(self.number_up_to(key, max)?.filter(|&count| count > 0))
    }

    /// Fails if `key` enables a feature, that is, unless it is absent, zero or `false`.
    pub(super) fn refuse(&self, key: &str, reason: &str) -> Result<(), LoadError> {
        let key = self.key(key);
        match self.metadata.value(&key) {
            None | Some(Value::Bool(false) | Value::U32(0)) => Ok(()),
            Some(Value::F32(value)) if *value == 0.0 => Ok(()),
            Some(value) => Err(unsupported(&key, format!("{value:?}"), reason.to_owned())),
        }
    }

    /// The values of an `f32` tensor; `None` if absent.
    pub(super) fn vector(&self, name: &str) -> Result<Option<Vec<f32>>, LoadError> {
        let Some(index) = self.tensors.position(name) else { return Ok(None) };
        let info = &self.tensors.infos()[index];
        if info.dtype != DType::F32 {
            let found = info.dtype.to_string();
            return Err(LoadError::UnsupportedDType { tensor: name.to_owned(), found, supported: "f32" });
        }
        let bytes = self.tensors.stored_bytes(index)?;
        let (values, _) = bytes.as_chunks::<4>();
        Ok(Some(values.iter().map(|&value| f32::from_le_bytes(value)).collect()))
    }

    /// Whether the first layer has one of these tensors' biases.
    fn has_bias(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.tensors.contains(&format!("blk.0.{name}.bias")))
    }
}

/// A decoder like Llama that rotates pairs formed as `pairs` says; architectures change what differs.
///
/// No layer has a window. Converters write `attention.sliding_window` for many architectures, but llama.cpp applies it in those
/// only that call [`set_windows`]: not for Mistral, Qwen2 or Phi-3.
pub(super) fn decoder(config: &GgufConfig<'_>, pairs: RopePairs) -> Result<DecoderSpec, LoadError> {
    let hidden_size = config.require_count("embedding_length", MAX_EXTENT)?;
    let n_layers = config.require_count("block_count", MAX_REPEATS)?;
    let context_len = config.require_count("context_length", MAX_CONTEXT)?;
    let mut attention = attention(config, hidden_size)?;
    let rope = rope(config, attention.head_dim, pairs)?;
    let max_context_len = rope.stretched_context_len(context_len);
    attention.rope = Some(rope);
    let eps_key = "attention.layer_norm_rms_epsilon";
    let eps = config.get(eps_key)?.ok_or_else(|| LoadError::MissingKey { key: config.key(eps_key) })?;
    Ok(DecoderSpec {
        architecture: "llama",
        vocab_size: vocab_size(config)?,
        hidden_size,
        max_context_len,
        embedding: EmbeddingSpec { scale: 1.0, learned_positions: false },
        norm: NormSpec { kind: NormKind::Rms, eps, weight_offset: 0.0 },
        layers: vec![LayerSpec::new(attention, ffn(config)?); n_layers],
        head: HeadSpec::new(!config.tensors.contains("output.weight")),
        naming: Naming::gguf(),
    })
}

/// Vocabulary size, from the rows of the embedding, since not every file has a key for it.
pub(super) fn vocab_size(config: &GgufConfig<'_>) -> Result<usize, LoadError> {
    let name = "token_embd.weight";
    let table = config.tensors.get(name).ok_or_else(|| LoadError::MissingTensor { tensor: name.into() })?;
    match table.shape[..] {
        [rows, _] if (1..=MAX_EXTENT).contains(&rows) => Ok(rows),
        _ => Err(unsupported(
            name,
            format!("{:?}", table.shape),
            "it must be a matrix with one row per token".into(),
        )),
    }
}

fn attention(config: &GgufConfig<'_>, hidden_size: usize) -> Result<AttentionSpec, LoadError> {
    let n_heads = config.require_count("attention.head_count", MAX_EXTENT)?;
    let head_dim = match config.count("attention.key_length", MAX_HEAD_DIM)? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(n_heads) => hidden_size / n_heads,
        None => {
            let key = config.key("attention.head_count");
            let reason = format!("it must divide the embedding length {hidden_size}");
            return Err(unsupported(&key, n_heads, reason));
        }
    };
    let value_length = config.count("attention.value_length", MAX_EXTENT)?.unwrap_or(head_dim);
    if value_length != head_dim {
        let key = config.key("attention.value_length");
        return Err(unsupported(&key, value_length, format!("it must equal the key length {head_dim}")));
    }
    let n_kv_heads = config.count("attention.head_count_kv", MAX_EXTENT)?.unwrap_or(n_heads);
    let bias = AttentionBias {
        qkv: config.has_bias(&["attn_q", "attn_qkv"]),
        out: config.has_bias(&["attn_output"]),
    };
    Ok(AttentionSpec { bias, ..AttentionSpec::new(n_heads, n_kv_heads, head_dim) })
}

fn ffn(config: &GgufConfig<'_>) -> Result<FfnSpec, LoadError> {
    let activation = Activation::Silu;
    let Some(n_experts) = config.count_or_zero("expert_count", MAX_REPEATS)? else {
        let ffn_size = config.require_count("feed_forward_length", MAX_EXTENT)?;
        let bias = config.has_bias(&["ffn_up"]);
        return Ok(FfnSpec { bias, ..FfnSpec::gated(ffn_size, activation) });
    };
    for key in
        ["expert_shared_count", "leading_dense_block_count", "expert_weights_scale", "expert_group_count"]
    {
        config.refuse(key, "only mixtures without shared, grouped or scaled experts are supported")?;
    }
    if let Some(gating @ 2..) = config.get::<u32>("expert_gating_func")? {
        return Err(unsupported(&config.key("expert_gating_func"), gating, "supported: 1 (softmax)".into()));
    }
    let ffn_size = match config.count("expert_feed_forward_length", MAX_EXTENT)? {
        Some(ffn_size) => ffn_size,
        None => config.require_count("feed_forward_length", MAX_EXTENT)?,
    };
    let top_k = config.require_count("expert_used_count", MAX_REPEATS)?;
    let renormalize = config.get("expert_weights_norm")?.unwrap_or(true);
    let kind = FfnKind::Experts(ExpertsSpec { n_experts, top_k, renormalize, shared: None });
    Ok(FfnSpec { kind, ..FfnSpec::gated(ffn_size, activation) })
}

fn rope(config: &GgufConfig<'_>, head_dim: usize, pairs: RopePairs) -> Result<RopeSpec, LoadError> {
    let rotary_dim = config.count("rope.dimension_count", MAX_HEAD_DIM)?.unwrap_or(head_dim);
    if !rotary_dim.is_multiple_of(2) {
        let key = config.key("rope.dimension_count");
        return Err(unsupported(&key, rotary_dim, "rotation needs an even number".into()));
    }
    let theta = config.positive("rope.freq_base")?.unwrap_or(10_000.0).into();
    let mut rope = RopeSpec { theta, rotary_dim, pairs, scaling: scaling(config)? };
    if let Some(divisors) = config.vector("rope_freqs.weight")? {
        if rope.scaling != RopeScaling::None {
            let reason = "rope_freqs.weight cannot be combined with a scaling type".into();
            return Err(unsupported(&config.key("rope.scaling.type"), format!("{:?}", rope.scaling), reason));
        }
        rope.scaling = RopeScaling::Divisors(check_divisors("rope_freqs.weight", &divisors, rotary_dim)?);
    }
    Ok(rope)
}

/// Checks that there is one positive divisor per rotated pair.
pub(super) fn check_divisors(name: &str, divisors: &[f32], rotary_dim: usize) -> Result<Vec<f32>, LoadError> {
    if divisors.len() == rotary_dim / 2
        && divisors.iter().all(|&divisor| divisor.is_finite() && divisor > 0.0)
    {
        return Ok(divisors.to_vec());
    }
    let reason = format!("a rotation of {rotary_dim} values needs {} positive divisors", rotary_dim / 2);
    Err(unsupported(name, format!("a list of {} numbers", divisors.len()), reason))
}

fn scaling(config: &GgufConfig<'_>) -> Result<RopeScaling, LoadError> {
    // Files from before scaling types use `rope.scale_linear`.
    let factor = match config.positive("rope.scaling.factor")? {
        None => config.positive("rope.scale_linear")?,
        found => found,
    };
    let kind: Option<&str> = config.get("rope.scaling.type")?;
    match kind.unwrap_or(if factor.is_some() { "linear" } else { "none" }) {
        // LongRoPE divisors are tensors, which the architecture reads.
        "none" | "longrope" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: factor.unwrap_or(1.0) }),
        "yarn" => yarn(config, factor.unwrap_or(1.0)),
        other => {
            let reason = "supported: none, linear, yarn, longrope".into();
            Err(unsupported(&config.key("rope.scaling.type"), format!("{other:?}"), reason))
        }
    }
}

fn yarn(config: &GgufConfig<'_>, factor: f32) -> Result<RopeScaling, LoadError> {
    let recommended = recommended_yarn_factor(config, factor.into())?;
    // Converters copy the first from `attention_factor` of the configuration; the second multiplies the recommended one.
    let attention_factor = match config.positive("rope.scaling.yarn_attn_factor")? {
        Some(own) => own,
        None => config.positive("rope.scaling.attn_factor")?.unwrap_or(1.0) * recommended,
    };
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: config.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
        beta_slow: config.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        original_context_len: match config.count("rope.scaling.original_context_length", MAX_CONTEXT)? {
            Some(original) => original,
            None => config.require_count("context_length", MAX_CONTEXT)?,
        },
        attention_factor,
        truncate: true,
    })
}

/// The attention factor of files that have none of their own.
fn recommended_yarn_factor(config: &GgufConfig<'_>, factor: f64) -> Result<f32, LoadError> {
    // `mscale_all_dim` of the configuration; other architectures that have one use it in other ways.
    const KEY: &str = "rope.scaling.yarn_log_multiplier";
    let Some(multiplier) = config.get::<f32>(KEY)?.filter(|&multiplier| multiplier != 0.0) else {
        return Ok(yarn_attention_factor(factor, 1.0) as f32);
    };
    if config.architecture != "mistral3" {
        config.refuse(KEY, "only the recommended attention factor is supported")?;
    }
    Ok((yarn_attention_factor(factor, 1.0) / yarn_attention_factor(factor, multiplier.into())) as f32)
}

/// Gives layers a window: that of the file, or else `default`. The file's pattern says which layers attend to the whole context
/// instead; without one it is every `period`-th.
pub(super) fn set_windows(
    spec: &mut DecoderSpec,
    config: &GgufConfig<'_>,
    default: Option<usize>,
    period: usize,
) -> Result<(), LoadError> {
    let window = match config.number_up_to("attention.sliding_window", MAX_CONTEXT)? {
        None => default,
        Some(window) => Some(window).filter(|&window| window > 0),
    };
    const KEY: &str = "attention.sliding_window_pattern";
    let n_layers = spec.layers.len();
    let is_list = matches!(config.metadata.value(&config.key(KEY)), Some(Value::Array(_)));
    let is_sliding: Vec<bool> = if is_list {
        let flags: &[bool] = config.get(KEY)?.unwrap_or_default();
        if flags.len() != n_layers {
            let reason = format!("the model has {n_layers} layers");
            return Err(unsupported(&config.key(KEY), format!("a list of {}", flags.len()), reason));
        }
        flags.to_vec()
    } else {
        let period = config.count(KEY, MAX_REPEATS)?.unwrap_or(period);
        (0..n_layers).map(|layer| !(layer + 1).is_multiple_of(period)).collect()
    };
    for (layer, is_sliding) in spec.layers.iter_mut().zip(is_sliding) {
        if let Some(attention) = layer.mixer.attention_mut().filter(|_| is_sliding) {
            attention.window = window;
        }
    }
    Ok(())
}
