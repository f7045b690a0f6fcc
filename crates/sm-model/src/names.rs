//! Tensor names: each decoder weight's name in Hugging Face models and GGUF files.
//!
//! A weight is identified by kind and, if there are several, by layer and expert. A [`Naming`] maps that to its possible
//! names in a file:
//!
//! ```text
//! TensorKind::Q.in_layer(3)   Hugging Face   model.layers.3.self_attn.q_proj.weight
//!                             GGUF           blk.3.attn_q.weight
//! ```
//!
//! Most architectures share one table of names per file format; an architecture overrides the few entries that differ.

use crate::LoadError;

/// The role of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TensorKind {
    // One for the whole model.
    Embedding,
    Positions,
    OutputNorm,
    Head,
    // One per layer.
    AttentionNorm,
    /// Queries, keys and values in one matrix.
    Qkv,
    Q,
    K,
    V,
    QNorm,
    KNorm,
    AttentionOut,
    AttentionPostNorm,
    FfnNorm,
    /// Gate and up in one matrix, gate first.
    GateUp,
    Gate,
    Up,
    Down,
    FfnPostNorm,
    Router,
    /// All experts in one tensor: per expert, gate rows then up rows.
    ExpertsGateUp,
    /// All experts in one tensor.
    ExpertsGate,
    ExpertsUp,
    ExpertsDown,
    /// The matrices of the expert that every token uses.
    SharedGate,
    SharedUp,
    SharedDown,
    /// The vector whose product with the input gates that expert.
    SharedExpertGate,
    /// Parameters of the xIELU activation, one value each.
    XieluAlphaP,
    XieluAlphaN,
    XieluBeta,
    XieluEps,
    // One per layer and expert.
    ExpertGate,
    ExpertUp,
    ExpertDown,
}

impl TensorKind {
    /// Whether it holds the weights of a norm.
    pub(crate) const fn is_norm(self) -> bool {
        matches!(
            self,
            Self::OutputNorm
                | Self::QNorm
                | Self::KNorm
                | Self::AttentionNorm
                | Self::AttentionPostNorm
                | Self::FfnNorm
                | Self::FfnPostNorm
        )
    }

    /// The one tensor of this kind in the model.
    pub(crate) const fn of_model(self) -> TensorKey {
        TensorKey { kind: self, layer: 0, expert: 0 }
    }

    /// The tensor of this kind in a layer.
    pub(crate) const fn in_layer(self, layer: usize) -> TensorKey {
        TensorKey { kind: self, layer, expert: 0 }
    }

    /// The tensor of this kind of an expert in a layer.
    pub(crate) const fn in_expert(self, layer: usize, expert: usize) -> TensorKey {
        TensorKey { kind: self, layer, expert }
    }
}

/// Identifies a tensor of a decoder independently of file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorKey {
    pub(crate) kind: TensorKind,
    /// 0 for tensors of the whole model.
    pub(crate) layer: usize,
    /// 0 for tensors that do not belong to one expert.
    pub(crate) expert: usize,
}

/// Names of tensors, without `.weight` or `.bias`; `{l}` stands for the layer and `{e}` for the expert.
pub(crate) type Names = &'static [(TensorKind, &'static str)];

/// Names in most Hugging Face decoders, after the prefix.
pub(crate) const HF: Names = &[
    (TensorKind::Embedding, "embed_tokens"),
    (TensorKind::OutputNorm, "norm"),
    (TensorKind::Head, "lm_head"),
    (TensorKind::AttentionNorm, "layers.{l}.input_layernorm"),
    (TensorKind::Qkv, "layers.{l}.self_attn.qkv_proj"),
    (TensorKind::Q, "layers.{l}.self_attn.q_proj"),
    (TensorKind::K, "layers.{l}.self_attn.k_proj"),
    (TensorKind::V, "layers.{l}.self_attn.v_proj"),
    (TensorKind::QNorm, "layers.{l}.self_attn.q_norm"),
    (TensorKind::KNorm, "layers.{l}.self_attn.k_norm"),
    (TensorKind::AttentionOut, "layers.{l}.self_attn.o_proj"),
    (TensorKind::FfnNorm, "layers.{l}.post_attention_layernorm"),
    (TensorKind::GateUp, "layers.{l}.mlp.gate_up_proj"),
    (TensorKind::Gate, "layers.{l}.mlp.gate_proj"),
    (TensorKind::Up, "layers.{l}.mlp.up_proj"),
    (TensorKind::Down, "layers.{l}.mlp.down_proj"),
    (TensorKind::Router, "layers.{l}.mlp.gate"),
    (TensorKind::ExpertsGateUp, "layers.{l}.mlp.experts.gate_up_proj"),
    (TensorKind::ExpertsDown, "layers.{l}.mlp.experts.down_proj"),
    (TensorKind::ExpertGate, "layers.{l}.mlp.experts.{e}.gate_proj"),
    (TensorKind::ExpertUp, "layers.{l}.mlp.experts.{e}.up_proj"),
    (TensorKind::ExpertDown, "layers.{l}.mlp.experts.{e}.down_proj"),
    (TensorKind::SharedGate, "layers.{l}.mlp.shared_expert.gate_proj"),
    (TensorKind::SharedUp, "layers.{l}.mlp.shared_expert.up_proj"),
    (TensorKind::SharedDown, "layers.{l}.mlp.shared_expert.down_proj"),
    (TensorKind::SharedExpertGate, "layers.{l}.mlp.shared_expert_gate"),
    (TensorKind::XieluAlphaP, "layers.{l}.mlp.act_fn.alpha_p"),
    (TensorKind::XieluAlphaN, "layers.{l}.mlp.act_fn.alpha_n"),
    (TensorKind::XieluBeta, "layers.{l}.mlp.act_fn.beta"),
    (TensorKind::XieluEps, "layers.{l}.mlp.act_fn.eps"),
];

/// Names in GGUF files: `gguf-py/gguf/constants.py` of llama.cpp.
pub(crate) const GGUF: Names = &[
    (TensorKind::Embedding, "token_embd"),
    (TensorKind::Positions, "position_embd"),
    (TensorKind::OutputNorm, "output_norm"),
    (TensorKind::Head, "output"),
    (TensorKind::AttentionNorm, "blk.{l}.attn_norm"),
    (TensorKind::Qkv, "blk.{l}.attn_qkv"),
    (TensorKind::Q, "blk.{l}.attn_q"),
    (TensorKind::K, "blk.{l}.attn_k"),
    (TensorKind::V, "blk.{l}.attn_v"),
    (TensorKind::QNorm, "blk.{l}.attn_q_norm"),
    (TensorKind::KNorm, "blk.{l}.attn_k_norm"),
    (TensorKind::AttentionOut, "blk.{l}.attn_output"),
    (TensorKind::AttentionPostNorm, "blk.{l}.post_attention_norm"),
    (TensorKind::FfnNorm, "blk.{l}.ffn_norm"),
    (TensorKind::Gate, "blk.{l}.ffn_gate"),
    (TensorKind::Up, "blk.{l}.ffn_up"),
    (TensorKind::Down, "blk.{l}.ffn_down"),
    (TensorKind::FfnPostNorm, "blk.{l}.post_ffw_norm"),
    (TensorKind::Router, "blk.{l}.ffn_gate_inp"),
    (TensorKind::ExpertsGate, "blk.{l}.ffn_gate_exps"),
    (TensorKind::ExpertsUp, "blk.{l}.ffn_up_exps"),
    (TensorKind::ExpertsDown, "blk.{l}.ffn_down_exps"),
    (TensorKind::ExpertGate, "blk.{l}.ffn_gate.{e}"),
    (TensorKind::ExpertUp, "blk.{l}.ffn_up.{e}"),
    (TensorKind::ExpertDown, "blk.{l}.ffn_down.{e}"),
    (TensorKind::SharedGate, "blk.{l}.ffn_gate_shexp"),
    (TensorKind::SharedUp, "blk.{l}.ffn_up_shexp"),
    (TensorKind::SharedDown, "blk.{l}.ffn_down_shexp"),
    (TensorKind::SharedExpertGate, "blk.{l}.ffn_gate_inp_shexp"),
];

/// Prefixes of everything but the head in Hugging Face models; longer ones first, since the plain names of one model may
/// end like the prefixed names of another.
const HF_PREFIXES: [&str; 5] =
    ["model.language_model.", "language_model.model.", "model.", "transformer.", ""];

/// How the matrices of a layer's linear maps are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinearLayout {
    /// `[out_features, in_features]`.
    OutIn,
    /// `[in_features, out_features]`, as in the `Conv1D` of GPT-2.
    InOut,
}

/// The names and layout of the tensors in a model's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    prefix: &'static str,
    base: Names,
    /// The architecture's names, which take precedence over `base`.
    overrides: Names,
    /// How the matrices of a layer's linear maps are stored.
    pub linear: LinearLayout,
}

impl Naming {
    /// The names of GGUF files.
    pub(crate) fn gguf() -> Self {
        Self { prefix: "", base: GGUF, overrides: &[], linear: LinearLayout::OutIn }
    }

    /// The names of Hugging Face models.
    pub(crate) fn hf() -> Self {
        Self { prefix: "model.", base: HF, overrides: &[], linear: LinearLayout::OutIn }
    }

    /// Overrides some names. An overridden name no longer stands for its default kind.
    pub(crate) fn with(mut self, overrides: Names) -> Self {
        self.overrides = overrides;
        self
    }

    /// Resolves the model's prefix by looking for its embedding. `exists` returns whether the model has a tensor of that
    /// name.
    ///
    /// # Errors
    /// If the model has no embedding under any known prefix.
    pub(crate) fn resolve_prefix(mut self, exists: impl Fn(&str) -> bool) -> Result<Self, LoadError> {
        if self.base == GGUF {
            return Ok(self);
        }
        let embedding =
            |naming: &Self| naming.tensor(TensorKind::Embedding.of_model(), "weight").unwrap_or_default();
        let usual = embedding(&self);
        for prefix in HF_PREFIXES {
            self.prefix = prefix;
            if exists(&embedding(&self)) {
                return Ok(self);
            }
        }
        Err(LoadError::MissingTensor { tensor: usual })
    }

    /// The default name of a tensor; `None` if the architecture has none of this kind. `suffix` is `weight` or `bias`.
    pub(crate) fn tensor(&self, key: TensorKey, suffix: &str) -> Option<String> {
        self.names(key, suffix).next()
    }

    /// All possible names of a tensor, overrides first.
    pub(crate) fn names(&self, key: TensorKey, suffix: &str) -> impl Iterator<Item = String> {
        let TensorKey { kind, layer, expert } = key;
        let is_taken = |name: &str| self.overrides.iter().any(|(_, taken)| *taken == name);
        let usual = self.base.iter().filter(move |(_, name)| !is_taken(name));
        let of_kind = self.overrides.iter().chain(usual).filter(move |(of, _)| *of == kind);
        let prefix = match kind {
            TensorKind::Head if self.prefix == "language_model.model." => "language_model.",
            TensorKind::Head => "",
            _ => self.prefix,
        };
        let is_bare = self.base == HF && is_bare_parameter(kind);
        of_kind.map(move |(_, name)| {
            let name = name.replace("{l}", &layer.to_string()).replace("{e}", &expert.to_string());
            if is_bare { format!("{prefix}{name}") } else { format!("{prefix}{name}.{suffix}") }
        })
    }

    /// Whether an unused tensor can be ignored without changing the results.
    pub(crate) fn is_ignorable(&self, name: &str) -> bool {
        // The architectures read these for the rotation.
        const ROPE_DIVISORS: [&str; 3] =
            ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];
        if self.base == GGUF {
            return ROPE_DIVISORS.contains(&name);
        }
        let is_other_modality = self.prefix.contains("language_model") && !name.contains("language_model");
        is_other_modality || is_constant(name) || is_value_head(name)
    }
}

/// Whether Hugging Face models have a bare parameter of this kind, not a module with a `weight`.
fn is_bare_parameter(kind: TensorKind) -> bool {
    matches!(
        kind,
        TensorKind::ExpertsGateUp
            | TensorKind::ExpertsDown
            | TensorKind::XieluAlphaP
            | TensorKind::XieluAlphaN
            | TensorKind::XieluBeta
            | TensorKind::XieluEps
    )
}

/// Whether a tensor of a Hugging Face model is a constant that old versions of transformers saved along: rotary
/// frequencies and tables, causal masks, and the numbers of positions.
fn is_constant(name: &str) -> bool {
    const SUFFIXES: [&str; 6] = [
        ".rotary_emb.inv_freq",
        ".rotary_emb.cos_cached",
        ".rotary_emb.sin_cached",
        ".attn.bias",
        ".attn.masked_bias",
        "position_ids",
    ];
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Whether a tensor belongs to the head that reinforcement learning (TRL) adds to estimate rewards. It reads the last hidden
/// state beside the model's own head, and does not change the logits.
fn is_value_head(name: &str) -> bool {
    name.starts_with("v_head.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_each_format() {
        let name = |naming: &Naming, key| naming.tensor(key, "weight");
        let (hf, gguf) = (Naming::hf(), Naming::gguf());
        let q = TensorKind::Q.in_layer(3);
        assert_eq!(name(&hf, q).as_deref(), Some("model.layers.3.self_attn.q_proj.weight"));
        assert_eq!(name(&hf, TensorKind::Head.of_model()).as_deref(), Some("lm_head.weight"));
        let up = TensorKind::ExpertUp.in_expert(3, 7);
        assert_eq!(name(&gguf, up).as_deref(), Some("blk.3.ffn_up.7.weight"));
        assert_eq!(name(&gguf, TensorKind::GateUp.in_layer(3)), None);
    }

    #[test]
    fn an_overriding_name_no_longer_stands_for_its_usual_kind() {
        let naming = Naming::gguf().with(&[(TensorKind::GateUp, "blk.{l}.ffn_up")]);
        let name = |kind: TensorKind| naming.tensor(kind.in_layer(0), "weight");
        assert_eq!(name(TensorKind::GateUp).as_deref(), Some("blk.0.ffn_up.weight"));
        assert_eq!(name(TensorKind::Up), None);
    }
}
