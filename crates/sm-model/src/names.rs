//! What each tensor of a decoder is called, in Hugging Face models and in GGUF files.

use crate::LoadError;
use crate::load::tensors::Tensors;

/// A tensor's part in a decoder. Those from `AttentionNorm` on exist once per layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Embedding,
    Positions,
    OutputNorm,
    Head,
    AttentionNorm,
    Qkv,
    Q,
    K,
    V,
    QNorm,
    KNorm,
    AttentionOut,
    AttentionPostNorm,
    FfnNorm,
    GateUp,
    Gate,
    Up,
    Down,
    FfnPostNorm,
    Router,
    /// All experts in one tensor, each its gate rows and then its up rows.
    ExpertsGateUp,
    /// All experts in one tensor.
    ExpertsGate,
    ExpertsUp,
    ExpertsDown,
    /// One expert.
    ExpertGate,
    ExpertUp,
    ExpertDown,
}

/// Names without `.weight` or `.bias`; `{l}` stands for the layer and `{e}` for the expert.
pub(crate) type Names = &'static [(Role, &'static str)];

/// The names of most Hugging Face decoders, after the prefix.
pub(crate) const HF: Names = &[
    (Role::Embedding, "embed_tokens"),
    (Role::OutputNorm, "norm"),
    (Role::Head, "lm_head"),
    (Role::AttentionNorm, "layers.{l}.input_layernorm"),
    (Role::Qkv, "layers.{l}.self_attn.qkv_proj"),
    (Role::Q, "layers.{l}.self_attn.q_proj"),
    (Role::K, "layers.{l}.self_attn.k_proj"),
    (Role::V, "layers.{l}.self_attn.v_proj"),
    (Role::QNorm, "layers.{l}.self_attn.q_norm"),
    (Role::KNorm, "layers.{l}.self_attn.k_norm"),
    (Role::AttentionOut, "layers.{l}.self_attn.o_proj"),
    (Role::FfnNorm, "layers.{l}.post_attention_layernorm"),
    (Role::GateUp, "layers.{l}.mlp.gate_up_proj"),
    (Role::Gate, "layers.{l}.mlp.gate_proj"),
    (Role::Up, "layers.{l}.mlp.up_proj"),
    (Role::Down, "layers.{l}.mlp.down_proj"),
    (Role::Router, "layers.{l}.mlp.gate"),
    (Role::ExpertsGateUp, "layers.{l}.mlp.experts.gate_up_proj"),
    (Role::ExpertsDown, "layers.{l}.mlp.experts.down_proj"),
    (Role::ExpertGate, "layers.{l}.mlp.experts.{e}.gate_proj"),
    (Role::ExpertUp, "layers.{l}.mlp.experts.{e}.up_proj"),
    (Role::ExpertDown, "layers.{l}.mlp.experts.{e}.down_proj"),
];

/// The names of GGUF files.
pub(crate) const GGUF: Names = &[
    (Role::Embedding, "token_embd"),
    (Role::Positions, "position_embd"),
    (Role::OutputNorm, "output_norm"),
    (Role::Head, "output"),
    (Role::AttentionNorm, "blk.{l}.attn_norm"),
    (Role::Qkv, "blk.{l}.attn_qkv"),
    (Role::Q, "blk.{l}.attn_q"),
    (Role::K, "blk.{l}.attn_k"),
    (Role::V, "blk.{l}.attn_v"),
    (Role::QNorm, "blk.{l}.attn_q_norm"),
    (Role::KNorm, "blk.{l}.attn_k_norm"),
    (Role::AttentionOut, "blk.{l}.attn_output"),
    (Role::AttentionPostNorm, "blk.{l}.post_attention_norm"),
    (Role::FfnNorm, "blk.{l}.ffn_norm"),
    (Role::Gate, "blk.{l}.ffn_gate"),
    (Role::Up, "blk.{l}.ffn_up"),
    (Role::Down, "blk.{l}.ffn_down"),
    (Role::FfnPostNorm, "blk.{l}.post_ffw_norm"),
    (Role::Router, "blk.{l}.ffn_gate_inp"),
    (Role::ExpertsGate, "blk.{l}.ffn_gate_exps"),
    (Role::ExpertsUp, "blk.{l}.ffn_up_exps"),
    (Role::ExpertsDown, "blk.{l}.ffn_down_exps"),
    (Role::ExpertGate, "blk.{l}.ffn_gate.{e}"),
    (Role::ExpertUp, "blk.{l}.ffn_up.{e}"),
    (Role::ExpertDown, "blk.{l}.ffn_down.{e}"),
];

/// Prefixes of everything but the head in Hugging Face models, the longer ones first.
const HF_PREFIXES: [&str; 5] =
    ["model.language_model.", "language_model.model.", "model.", "transformer.", ""];

/// How the matrices of a layer's linear maps lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinearLayout {
    /// `[out_features, in_features]`.
    OutIn,
    /// `[in_features, out_features]`, as GPT-2's `Conv1D` has them.
    InOut,
}

/// What the tensors of a model are called and how they lie in its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    prefix: &'static str,
    /// Names that differ from `base` in this architecture.
    own: Names,
    base: Names,
    /// How the matrices of a layer's linear maps lie in the file.
    pub linear: LinearLayout,
}

impl Naming {
    /// The names of GGUF files.
    pub(crate) fn gguf() -> Self {
        Self { prefix: "", own: &[], base: GGUF, linear: LinearLayout::OutIn }
    }

    /// The names of Hugging Face models.
    pub(crate) fn hf() -> Self {
        Self { prefix: HF_PREFIXES[2], own: &[], base: HF, linear: LinearLayout::OutIn }
    }

    /// The same, but for some names; a name that stands for another role there is given up.
    pub(crate) fn with(mut self, own: Names) -> Self {
        self.own = own;
        self
    }

    /// The same, with the prefix under which the model has its embedding.
    ///
    /// # Errors
    /// If it has none under any known prefix.
    pub(crate) fn resolve_prefix(mut self, tensors: &Tensors) -> Result<Self, LoadError> {
        if self.base == GGUF {
            return Ok(self);
        }
        let embedding =
            |naming: &Self| naming.tensor(Role::Embedding, Place::default(), "weight").unwrap_or_default();
        let usual = embedding(&self);
        for prefix in HF_PREFIXES {
            self.prefix = prefix;
            if tensors.contains(&embedding(&self)) {
                return Ok(self);
            }
        }
        Err(LoadError::MissingTensor { tensor: usual })
    }

    /// The name of a tensor, or `None` if the architecture has none of this role.
    pub(crate) fn tensor(&self, role: Role, place: Place, suffix: &str) -> Option<String> {
        self.candidates(role, place, suffix).next()
    }

    /// The names that a tensor may have, the architecture's own before the usual one.
    pub(crate) fn candidates(&self, role: Role, place: Place, suffix: &str) -> impl Iterator<Item = String> {
        let is_given_up = |name: &str| self.own.iter().any(|(_, taken)| *taken == name);
        let usual = self.base.iter().filter(move |(_, name)| !is_given_up(name));
        let of_role = self.own.iter().chain(usual).filter(move |(of, _)| *of == role);
        let prefix = match role {
            Role::Head if self.prefix == "language_model.model." => "language_model.",
            Role::Head => "",
            _ => self.prefix,
        };
        // The stacked experts of Hugging Face models are bare parameters.
        let is_bare = self.base == HF && matches!(role, Role::ExpertsGateUp | Role::ExpertsDown);
        of_role.map(move |(_, name)| {
            let name =
                name.replace("{l}", &place.layer.to_string()).replace("{e}", &place.expert.to_string());
            if is_bare { format!("{prefix}{name}") } else { format!("{prefix}{name}.{suffix}") }
        })
    }

    /// Whether a tensor that the plan does not use may be left out without changing the results.
    pub(crate) fn is_ignorable(&self, name: &str) -> bool {
        // The architectures read these while they fill the description of the rotation.
        const OF_ROPE: [&str; 3] =
            ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"];
        if self.base == GGUF {
            return OF_ROPE.contains(&name);
        }
        let of_other_modality = self.prefix.contains("language_model") && !name.contains("language_model");
        of_other_modality || is_constant(name)
    }
}

/// Whether a tensor of a Hugging Face model is one of the constants that transformers once saved: frequencies and
/// causal masks.
pub(crate) fn is_constant(name: &str) -> bool {
    [".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"].iter().any(|suffix| name.ends_with(suffix))
}

/// Where in a decoder a tensor belongs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) layer: usize,
    pub(crate) expert: usize,
}

impl Place {
    pub(crate) fn layer(layer: usize) -> Self {
        Self { layer, expert: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let place = Place { layer: 3, expert: 7 };
        let name = |naming: &Naming, role| naming.tensor(role, place, "weight");
        assert_eq!(name(&Naming::hf(), Role::Q).as_deref(), Some("model.layers.3.self_attn.q_proj.weight"));
        assert_eq!(name(&Naming::hf(), Role::Head).as_deref(), Some("lm_head.weight"));
        assert_eq!(name(&Naming::gguf(), Role::ExpertUp).as_deref(), Some("blk.3.ffn_up.7.weight"));
        assert_eq!(name(&Naming::gguf(), Role::GateUp), None);
    }

    #[test]
    fn a_name_taken_for_another_role_is_given_up() {
        let naming = Naming::gguf().with(&[(Role::GateUp, "blk.{l}.ffn_up")]);
        assert_eq!(
            naming.tensor(Role::GateUp, Place::layer(0), "weight").as_deref(),
            Some("blk.0.ffn_up.weight")
        );
        assert_eq!(naming.tensor(Role::Up, Place::layer(0), "weight"), None);
    }
}
