//! Decoder models as data.
//!
//! Decoder models are variations on a theme, so every difference is a field or an enum here. An architecture fills in a
//! [`DecoderSpec`] from its configuration; one builder turns any spec into a plan.
//!
//! ```text
//! DecoderSpec
//! ├─ embedding        scale, learned positions
//! ├─ layers[i]        mixer (attention, …), feed-forward network: x += residual_scale * f(norm(x))
//! │                   placement of the norms
//! ├─ norm             kind and epsilon, the same everywhere
//! ├─ head             tied or not, scale, soft cap
//! └─ naming           what the tensors are called in the model's files
//! ```
//!
//! Whatever may differ between layers belongs to the layer: heads, window, rotation, scale. Models that alternate (Gemma's
//! local and global layers, SmolLM3's layers without rotation) are then ordinary lists.

mod attention;
mod rope;

pub use attention::{AttentionBias, AttentionSpec, Mixer, QkNorm};
pub use rope::{RopeScaling, RopeSpec};
pub(crate) use rope::{longrope_attention_factor, yarn_attention_factor};
use sm_kernels::plan::{Activation, CacheLayout, NormKind, PageGroup, Xielu};

use crate::LoadError;
use crate::config::unsupported;
use crate::names::Naming;

/// A decoder model without its weights.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DecoderSpec {
    /// The architecture's name, as [`architectures`](crate::architectures) lists it.
    pub architecture: &'static str,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Values per position in the residual stream.
    pub hidden_size: usize,
    /// The longest supported context, in positions.
    pub max_context_len: usize,
    /// How tokens become vectors.
    pub embedding: EmbeddingSpec,
    /// The norm used throughout the model.
    pub norm: NormSpec,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// How the last hidden state becomes logits.
    pub head: HeadSpec,
    /// The names and layout of the tensors in the model's files.
    pub naming: Naming,
}

/// How tokens become vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EmbeddingSpec {
    /// Multiplier of the embedding.
    pub scale: f32,
    /// Whether a learned vector per position is added; the table has `max_context_len` rows.
    pub learned_positions: bool,
}

/// The norm used throughout a model.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct NormSpec {
    /// RMS norm or layer norm.
    pub kind: NormKind,
    /// Added to the mean square or the variance.
    pub eps: f32,
    /// Added to every stored weight: 1 if the file stores the difference from one (Gemma), otherwise 0.
    pub weight_offset: f32,
}

/// One layer: a mixer and a feed-forward network, both added to the residual stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerSpec {
    /// Mixes information between positions.
    pub mixer: Mixer,
    /// Then transforms each position independently.
    pub ffn: FfnSpec,
    /// Where the norms are.
    pub norms: NormPlacement,
    /// Multiplier of mixer and feed-forward outputs before they are added to the residual stream (Granite); usually 1.
    pub residual_scale: f32,
}

/// Where a layer has norms; `f` is its mixer or its feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NormPlacement {
    /// `x + f(norm(x))`.
    Before,
    /// `x + norm(f(norm(x)))` (Gemma 2).
    BeforeAndAfter,
    /// `x + norm(f(x))` (OLMo 2).
    After,
}

/// A feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FfnSpec {
    /// Plain, gated, or a mixture of experts.
    pub kind: FfnKind,
    /// Inner width; of each expert in a mixture.
    pub ffn_size: usize,
    /// The non-linearity.
    pub activation: Activation,
    /// Whether both linear maps have a bias; only the plain kind may.
    pub bias: bool,
}

/// The form of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FfnKind {
    /// `down(activation(up x))`.
    Plain,
    /// `down(activation(gate x) * up x)`.
    Gated,
    /// Several gated networks; a router picks a few per token.
    Experts(ExpertsSpec),
}

/// A mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpertsSpec {
    /// Number of experts.
    pub n_experts: usize,
    /// Experts used per token.
    pub top_k: usize,
    /// Whether the probabilities of the chosen experts are renormalized.
    pub renormalize: bool,
    /// An expert that every token uses as well.
    pub shared: Option<SharedExpertSpec>,
}

/// An expert that every token uses besides those that the router picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedExpertSpec {
    /// Inner width.
    pub ffn_size: usize,
    /// Whether its output is multiplied by the sigmoid of a product with the input (Qwen2-MoE).
    pub is_gated: bool,
}

/// How the last hidden state becomes logits.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct HeadSpec {
    /// Whether the embedding matrix doubles as the output matrix.
    pub tied: bool,
    /// Multiplier of the logits; usually 1.
    pub scale: f32,
    /// Logits become `cap * tanh(logit / cap)`.
    pub soft_cap: Option<f32>,
}

impl LayerSpec {
    /// A pre-norm layer, as in most models.
    pub(crate) fn new(attention: AttentionSpec, ffn: FfnSpec) -> Self {
        Self { mixer: Mixer::Attention(attention), ffn, norms: NormPlacement::Before, residual_scale: 1.0 }
    }
}

impl HeadSpec {
    /// A plain linear map.
    pub(crate) fn new(tied: bool) -> Self {
        Self { tied, scale: 1.0, soft_cap: None }
    }
}

impl FfnSpec {
    /// A gated network without biases, as in most models.
    pub(crate) fn gated(ffn_size: usize, activation: Activation) -> Self {
        Self { kind: FfnKind::Gated, ffn_size, activation, bias: false }
    }
}

impl DecoderSpec {
    /// The attention of each layer that has one, in order.
    pub fn attentions(&self) -> impl Iterator<Item = &AttentionSpec> {
        self.layers.iter().filter_map(|layer| layer.mixer.attention())
    }

    /// Mutable attention of each layer that has one.
    pub(crate) fn attentions_mut(&mut self) -> impl Iterator<Item = &mut AttentionSpec> {
        self.layers.iter_mut().filter_map(|layer| layer.mixer.attention_mut())
    }

    /// Mutable rotation of each layer with a window that rotates.
    pub(crate) fn windowed_ropes_mut(&mut self) -> impl Iterator<Item = &mut RopeSpec> {
        let windowed = self.attentions_mut().filter(|attention| attention.window.is_some());
        windowed.filter_map(|attention| attention.rope.as_mut())
    }

    /// Mutable feed-forward network of each layer.
    pub(crate) fn ffns_mut(&mut self) -> impl Iterator<Item = &mut FfnSpec> {
        self.layers.iter_mut().map(|layer| &mut layer.ffn)
    }

    /// The cache layout: consecutive layers with equal key and value shapes form a group.
    pub fn cache_layout(&self) -> CacheLayout {
        let mut layout = CacheLayout::default();
        for layer in &self.layers {
            let Mixer::Attention(AttentionSpec { n_kv_heads, head_dim, .. }) = layer.mixer;
            let group = PageGroup::uniform(1, n_kv_heads, head_dim);
            match layout.pages.last_mut().filter(|last| PageGroup { n_layers: 1, ..**last } == group) {
                Some(last) => last.n_layers += 1,
                None => layout.pages.push(group),
            }
        }
        layout
    }

    /// Whether a tensor that the plan does not read can be ignored without changing the results.
    pub(crate) fn is_ignorable(&self, tensor: &str) -> bool {
        // The activations hold what these tensors say.
        const XIELU: [&str; 4] = [".act_fn.alpha_p", ".act_fn.alpha_n", ".act_fn.beta", ".act_fn.eps"];
        let has_xielu =
            || self.layers.iter().any(|layer| matches!(layer.ffn.activation, Activation::Xielu(_)));
        let is_parameter = XIELU.iter().any(|suffix| tensor.ends_with(suffix));
        is_parameter && has_xielu() || self.naming.is_ignorable(tensor)
    }

    /// Checks consistency between fields.
    ///
    /// # Errors
    /// The first field that contradicts another or is out of range.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let eps = self.norm.eps;
        if !(eps.is_finite() && eps >= 0.0) {
            return Err(unsupported("norm epsilon", eps, "it must be finite and at least 0".into()));
        }
        check_positive("embedding scale", Some(self.embedding.scale))?;
        check_positive("soft cap of the logits", self.head.soft_cap)?;
        check_positive("logit scale", Some(self.head.scale))?;
        if self.head.scale != 1.0 && self.head.soft_cap.is_some() {
            let reason = "logits with a soft cap cannot also be scaled".into();
            return Err(unsupported("logit scale", self.head.scale, reason));
        }
        self.layers.iter().try_for_each(LayerSpec::check)
    }
}

impl LayerSpec {
    fn check(&self) -> Result<(), LoadError> {
        match &self.mixer {
            Mixer::Attention(attention) => attention.check()?,
        }
        self.check_residual_scale()?;
        let FfnSpec { kind, bias, activation, .. } = self.ffn;
        if let Activation::Xielu(Xielu { alpha_p, alpha_n, beta, eps }) = activation
            && !([alpha_p, alpha_n, beta, eps].into_iter().all(f32::is_finite) && eps <= 0.0)
        {
            let reason = "its parameters must be finite, and epsilon at most 0".into();
            return Err(unsupported("activation", activation, reason));
        }
        if bias && kind != FfnKind::Plain {
            let reason = "only plain feed-forward networks may have biases, this one has a gate".into();
            return Err(unsupported("feed-forward bias", true, reason));
        }
        if let FfnKind::Experts(ExpertsSpec { n_experts, top_k, .. }) = kind
            && top_k > n_experts
        {
            let reason = format!("there are only {n_experts} experts");
            return Err(unsupported("experts per token", top_k, reason));
        }
        Ok(())
    }
}

impl LayerSpec {
    /// The scale is part of the linear map that ends a branch, so nothing else may follow it.
    fn check_residual_scale(&self) -> Result<(), LoadError> {
        check_positive("residual scale", Some(self.residual_scale))?;
        let obstacle = match (self.norms, self.ffn.kind) {
            (NormPlacement::BeforeAndAfter | NormPlacement::After, _) => "norms after the blocks",
            (NormPlacement::Before, FfnKind::Experts(_)) => "a mixture of experts",
            (NormPlacement::Before, FfnKind::Plain | FfnKind::Gated) => return Ok(()),
        };
        if self.residual_scale == 1.0 {
            return Ok(());
        }
        let reason = format!("layers with {obstacle} cannot scale their residual branches");
        Err(unsupported("residual scale", self.residual_scale, reason))
    }
}

/// Rejects a number that is present but not finite and positive.
fn check_positive(name: &str, value: Option<f32>) -> Result<(), LoadError> {
    match value.filter(|value| !(value.is_finite() && *value > 0.0)) {
        None => Ok(()),
        Some(value) => Err(unsupported(name, value, "it must be finite and positive".into())),
    }
}

#[cfg(test)]
mod tests;
