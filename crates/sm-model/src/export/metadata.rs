//! Describes a decoder as GGUF metadata.

use sm_kernels::plan::{Activation, NormKind, RopePairs};

use crate::LoadError;
use crate::load::tensors::Tensors;
use crate::metadata::{Array, Metadata, Value};
use crate::names::{Names, Naming, TensorKind};
use crate::spec::{DecoderSpec, ExpertsSpec, FfnKind, RopeScaling, RopeSpec, yarn_attention_factor};
use crate::xielu::StoredXielu;

/// Properties of a GGUF architecture.
#[derive(Clone, Copy, Debug)]
pub(super) struct GgufArchitecture {
    /// `general.architecture`.
    pub(super) name: &'static str,
    /// Which values of a head form rotated pairs.
    pub(super) pairs: RopePairs,
    /// Tensor names that differ from the default ones.
    names: Names,
    /// Whether llama.cpp applies the windows of its files.
    has_windows: bool,
}

impl GgufArchitecture {
    /// The names of its tensors.
    pub(super) fn naming(&self) -> Naming {
        Naming::gguf().with(self.names)
    }
}

/// Fused gate and up have the name of up.
const GATE_UP_AS_UP: Names = &[(TensorKind::GateUp, "blk.{l}.ffn_up")];

/// The GGUF architecture of each supported architecture.
const TABLE: [(&str, GgufArchitecture); 23] = [
    ("llama", plain("llama", RopePairs::Adjacent)),
    ("mistral", plain("llama", RopePairs::Adjacent)),
    ("mixtral", plain("llama", RopePairs::Adjacent)),
    ("smollm3", plain("smollm3", RopePairs::Adjacent)),
    ("granite", plain("granite", RopePairs::Adjacent)),
    ("mistral3", plain("mistral3", RopePairs::Adjacent)),
    ("olmo2", plain("olmo2", RopePairs::Halves)),
    ("olmo3", windowed("olmo2")),
    ("exaone4", windowed("exaone4")),
    ("glm", GgufArchitecture { names: GATE_UP_AS_UP, ..plain("chatglm", RopePairs::Adjacent) }),
    ("glm4", GgufArchitecture { names: GATE_UP_AS_UP, ..plain("glm4", RopePairs::Adjacent) }),
    ("apertus", plain("apertus", RopePairs::Halves)),
    ("ernie4_5", plain("ernie4_5", RopePairs::Adjacent)),
    ("hunyuan", plain("hunyuan-dense", RopePairs::Halves)),
    ("qwen2", plain("qwen2", RopePairs::Halves)),
    ("qwen2_moe", plain("qwen2moe", RopePairs::Halves)),
    ("qwen3", plain("qwen3", RopePairs::Halves)),
    ("qwen3_moe", plain("qwen3moe", RopePairs::Halves)),
    ("gemma", plain("gemma", RopePairs::Halves)),
    ("gemma2", windowed("gemma2")),
    ("gemma3", windowed("gemma3")),
    ("phi3", GgufArchitecture { names: GATE_UP_AS_UP, ..plain("phi3", RopePairs::Halves) }),
    ("gpt2", plain("gpt2", RopePairs::Halves)),
];

const fn plain(name: &'static str, pairs: RopePairs) -> GgufArchitecture {
    GgufArchitecture { name, pairs, names: &[], has_windows: false }
}

const fn windowed(name: &'static str) -> GgufArchitecture {
    GgufArchitecture { has_windows: true, ..plain(name, RopePairs::Halves) }
}

/// The GGUF architecture of a decoder.
///
/// # Errors
/// If there is none.
pub(super) fn architecture(spec: &DecoderSpec) -> Result<GgufArchitecture, LoadError> {
    let found = TABLE.iter().find(|(ours, _)| *ours == spec.architecture);
    found.map(|(_, architecture)| *architecture).ok_or_else(|| LoadError::UnknownArchitecture {
        found: spec.architecture.into(),
        supported: TABLE.map(|(ours, _)| ours).join(", "),
    })
}

/// The same decoder without what GGUF has no words for: windows, in most architectures. Its context ends where the windows
/// would begin to matter.
pub(super) fn expressible(spec: &DecoderSpec, architecture: &GgufArchitecture) -> DecoderSpec {
    let mut spec = spec.clone();
    if architecture.has_windows {
        return spec;
    }
    let windows = spec.attentions_mut().filter_map(|attention| attention.window.take());
    if let Some(shortest) = windows.min() {
        spec.max_context_len = spec.max_context_len.min(shortest);
    }
    spec
}

/// Sets metadata under the prefix of an architecture.
struct Entries<'m> {
    metadata: &'m mut Metadata,
    prefix: &'static str,
}

impl Entries<'_> {
    fn set(&mut self, key: &str, value: Value) {
        self.metadata.insert(format!("{}.{key}", self.prefix), value);
    }

    fn count(&mut self, key: &str, count: usize) {
        self.set(key, Value::U32(u32::try_from(count).unwrap_or(u32::MAX)));
    }
}

/// Writes the metadata of a decoder.
pub(super) fn write(spec: &DecoderSpec, architecture: &GgufArchitecture, metadata: &mut Metadata) {
    metadata.insert("general.architecture", Value::String(architecture.name.into()));
    let mut entries = Entries { metadata, prefix: architecture.name };
    entries.count("vocab_size", spec.vocab_size);
    entries.count("context_length", spec.max_context_len);
    entries.count("embedding_length", spec.hidden_size);
    entries.count("block_count", spec.layers.len());
    let epsilon = match spec.norm.kind {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    };
    entries.set(epsilon, Value::F32(spec.norm.eps));
    if let Some(cap) = spec.head.soft_cap {
        entries.set("final_logit_softcapping", Value::F32(cap));
    }
    attention(spec, &mut entries);
    if architecture.name == "granite" {
        multipliers(spec, &mut entries);
    }
    ffn(spec, &mut entries);
    windows(spec, &mut entries);
    if let Some(rope) = main_rope(spec) {
        rotation(rope, &mut entries);
    }
    if let Some(local) = local_rope(spec) {
        entries.set("rope.freq_base_swa", Value::F32(local.theta as f32));
    }
}

/// The attention of the first layer; in GGUF metadata all layers share it.
fn attention(spec: &DecoderSpec, entries: &mut Entries<'_>) {
    let Some(attention) = spec.attentions().next() else { return };
    entries.count("attention.head_count", attention.n_heads);
    entries.count("attention.head_count_kv", attention.n_kv_heads);
    entries.count("attention.key_length", attention.head_dim);
    entries.count("attention.value_length", attention.head_dim);
    if let Some(cap) = attention.soft_cap {
        entries.set("attn_logit_softcapping", Value::F32(cap));
    }
    if let Some(scale) = attention.q_scale {
        entries.set("attention.temperature_scale", Value::F32(scale.beta));
    }
}

/// Granite's multipliers; other architectures have no keys for them. The logit scale is stored as a divisor.
fn multipliers(spec: &DecoderSpec, entries: &mut Entries<'_>) {
    entries.set("embedding_scale", Value::F32(spec.embedding.scale));
    entries.set("logit_scale", Value::F32(1.0 / spec.head.scale));
    if let Some(attention) = spec.attentions().next() {
        entries.set("attention.scale", Value::F32(attention.scale));
    }
    if let Some(layer) = spec.layers.first() {
        entries.set("residual_scale", Value::F32(layer.residual_scale));
    }
}

/// The rotation of the global layers, or of all if every layer has a window.
fn main_rope(spec: &DecoderSpec) -> Option<&RopeSpec> {
    let full = spec.attentions().filter(|attention| attention.window.is_none());
    full.chain(spec.attentions()).find_map(|attention| attention.rope.as_ref())
}

/// The rotation of layers with a window, if different from the main one.
fn local_rope(spec: &DecoderSpec) -> Option<&RopeSpec> {
    let local = spec.attentions().filter(|attention| attention.window.is_some());
    local.filter_map(|attention| attention.rope.as_ref()).find(|rope| Some(*rope) != main_rope(spec))
}

fn ffn(spec: &DecoderSpec, entries: &mut Entries<'_>) {
    let Some(ffn) = spec.layers.first().map(|layer| layer.ffn) else { return };
    entries.count("feed_forward_length", ffn.ffn_size);
    if let FfnKind::Experts(ExpertsSpec { n_experts, top_k, renormalize, shared }) = ffn.kind {
        entries.count("expert_count", n_experts);
        entries.count("expert_used_count", top_k);
        entries.count("expert_feed_forward_length", ffn.ffn_size);
        entries.set("expert_weights_norm", Value::Bool(renormalize));
        if let Some(shared) = shared {
            entries.count("expert_shared_feed_forward_length", shared.ffn_size);
        }
    }
}

fn windows(spec: &DecoderSpec, entries: &mut Entries<'_>) {
    let Some(window) = spec.attentions().find_map(|attention| attention.window) else {
        // Without this key llama.cpp assumes a Phi-3 file is from an old converter and has a window.
        if entries.prefix == "phi3" {
            entries.count("attention.sliding_window", 0);
        }
        return;
    };
    entries.count("attention.sliding_window", window);
    let flags = spec.attentions().map(|attention| attention.window.is_some()).collect();
    entries.set("attention.sliding_window_pattern", Value::Array(Array::Bool(flags)));
}

fn rotation(rope: &RopeSpec, entries: &mut Entries<'_>) {
    entries.count("rope.dimension_count", rope.rotary_dim);
    entries.set("rope.freq_base", Value::F32(rope.theta as f32));
    match &rope.scaling {
        // Per-pair divisors are tensors.
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Divisors(_) => {}
        RopeScaling::Linear { factor } => {
            entries.set("rope.scaling.type", Value::String("linear".into()));
            entries.set("rope.scaling.factor", Value::F32(*factor));
        }
        RopeScaling::Yarn {
            factor, original_context_len, beta_fast, beta_slow, attention_factor, ..
        } => {
            entries.set("rope.scaling.type", Value::String("yarn".into()));
            entries.set("rope.scaling.factor", Value::F32(*factor));
            entries.set("rope.scaling.yarn_beta_fast", Value::F32(*beta_fast));
            entries.set("rope.scaling.yarn_beta_slow", Value::F32(*beta_slow));
            entries.count("rope.scaling.original_context_length", *original_context_len);
            yarn_attention(f64::from(*factor), f64::from(*attention_factor), entries);
        }
        RopeScaling::LongRope { original_context_len, attention_factor, .. } => {
            entries.set("rope.scaling.type", Value::String("longrope".into()));
            entries.set("rope.scaling.attn_factor", Value::F32(*attention_factor));
            entries.count("rope.scaling.original_context_length", *original_context_len);
        }
    }
}

/// The attention factor of YaRN, where it is not the recommended one. Ministral 3 divides that by another, for which
/// llama.cpp has a key of its own.
fn yarn_attention(factor: f64, attention_factor: f64, entries: &mut Entries<'_>) {
    let recommended = yarn_attention_factor(factor, 1.0);
    let ratio = attention_factor / recommended;
    if (ratio - 1.0).abs() < 1e-6 {
        return;
    }
    if entries.prefix == "mistral3" && recommended > 1.0 {
        let multiplier = (1.0 / ratio - 1.0) / (recommended - 1.0);
        entries.set("rope.scaling.yarn_log_multiplier", Value::F32(multiplier as f32));
    } else {
        entries.set("rope.scaling.attn_factor", Value::F32(ratio as f32));
    }
}

/// The parameters of xIELU in every layer of a Hugging Face model. Unlike other keys, these have no prefix.
///
/// # Errors
/// If a tensor is missing or malformed.
pub(super) fn xielu(spec: &DecoderSpec, tensors: &Tensors, metadata: &mut Metadata) -> Result<(), LoadError> {
    if !spec.layers.iter().any(|layer| matches!(layer.ffn.activation, Activation::Xielu(_))) {
        return Ok(());
    }
    let layers = 0..spec.layers.len();
    let stored = layers.map(|layer| StoredXielu::read(tensors, &spec.naming, layer));
    let stored = stored.collect::<Result<Vec<_>, _>>()?;
    let mut set = |key: &str, value: fn(&StoredXielu) -> f32| {
        metadata.insert(key, Value::Array(Array::F32(stored.iter().map(value).collect())));
    };
    set("xielu.alpha_p", |stored| stored.alpha_p);
    set("xielu.alpha_n", |stored| stored.alpha_n);
    set("xielu.beta", |stored| stored.beta);
    set("xielu.eps", |stored| stored.eps);
    Ok(())
}

/// Divisors of rotary frequencies, which GGUF files store as `f32` tensors.
pub(super) fn divisors(spec: &DecoderSpec) -> Vec<(&'static str, Vec<f32>)> {
    let Some(rope) = main_rope(spec) else { return Vec::new() };
    match &rope.scaling {
        RopeScaling::Llama3 { .. } => {
            let plain =
                RopeSpec { scaling: RopeScaling::None, ..rope.clone() }.table(spec.max_context_len).inv_freq;
            let scaled = rope.table(spec.max_context_len).inv_freq;
            let divisors = plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled).collect();
            vec![("rope_freqs.weight", divisors)]
        }
        RopeScaling::Divisors(divisors) => vec![("rope_freqs.weight", divisors.clone())],
        RopeScaling::LongRope { short, long, .. } => {
            vec![("rope_factors_long.weight", long.clone()), ("rope_factors_short.weight", short.clone())]
        }
        RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Yarn { .. } => Vec::new(),
    }
}
