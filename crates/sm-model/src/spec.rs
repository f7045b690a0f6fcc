//! What a decoder model is, as data.
//!
//! Every point where decoder models differ is a field or an enum here. An architecture fills them from its
//! configuration, and the one decoder builder turns them into a plan.

mod rope;

pub use rope::{RopeScaling, RopeSpec};
pub(crate) use rope::{longrope_attention_factor, yarn_attention_factor};
use sm_kernels::plan::{Activation, NormKind};

use crate::LoadError;
use crate::config::{MAX_HEAD_DIM, unsupported};
use crate::names::Naming;

/// A decoder model without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderSpec {
    /// The architecture's name in the table of architectures.
    pub architecture: &'static str,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Values per position between the layers.
    pub hidden_size: usize,
    /// The longest context, in positions.
    pub max_context_len: usize,
    /// How tokens become vectors.
    pub embedding: EmbeddingSpec,
    /// The attention of every layer, but for its window and rotation.
    pub attention: AttentionSpec,
    /// The norms of every layer and the final one.
    pub norm: NormSpec,
    /// Rotations that the layers name by index.
    pub ropes: Vec<RopeSpec>,
    /// The layers, in order.
    pub layers: Vec<LayerSpec>,
    /// Which linear maps have a bias.
    pub biases: Biases,
    /// How the logits are made.
    pub head: HeadSpec,
    /// What the tensors are called and how they lie in the file.
    pub naming: Naming,
}

/// How tokens become vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbeddingSpec {
    /// Factor on the embedding.
    pub scale: f32,
    /// Whether a learned vector per position is added; there are `max_context_len` of them.
    pub learned_positions: bool,
}

/// The attention that all layers share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// Whether queries and keys are normalised per head before the rotation.
    pub qk_norm: bool,
}

/// The norms of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    /// Which normalisation.
    pub kind: NormKind,
    /// Added to the mean square or the variance.
    pub eps: f32,
    /// Added to every weight as stored: 1 where the file holds the difference from one.
    pub weight_offset: f32,
    /// Where a layer has norms.
    pub placement: NormPlacement,
}

/// Where a layer has norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before attention and before the feed-forward network.
    Before,
    /// Also on the results of both, before they are added to the residual.
    BeforeAndAfter,
}

/// What one layer has of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSpec {
    /// A position sees itself and the `window - 1` before it; all before it if none.
    pub window: Option<usize>,
    /// Index into [`DecoderSpec::ropes`]; none if the layer does not rotate.
    pub rope: Option<usize>,
    /// The feed-forward network.
    pub ffn: FfnSpec,
}

/// A feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FfnSpec {
    /// Its form.
    pub kind: FfnKind,
    /// Values between its linear maps, per expert where there are several.
    pub ffn_size: usize,
    /// The non-linearity.
    pub activation: Activation,
}

/// The form of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FfnKind {
    /// `down(activation(up x))`.
    Plain,
    /// `down(activation(gate x) * up x)`.
    Gated,
    /// Several gated ones, a few of which are used per token.
    Experts {
        /// How many there are.
        n_experts: usize,
        /// How many are used per token.
        top_k: usize,
        /// Whether the probabilities of the chosen ones are divided by their sum.
        renormalize: bool,
    },
}

/// Which linear maps of a layer have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The attention's output.
    pub attention_out: bool,
    /// Both maps of a plain feed-forward network.
    pub ffn: bool,
}

/// How the logits are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadSpec {
    /// Whether the embedding's matrix serves as the head's.
    pub tied: bool,
    /// Logits become `cap * tanh(logit / cap)`.
    pub soft_cap: Option<f32>,
}

impl DecoderSpec {
    /// Checks what must hold between the fields.
    ///
    /// # Errors
    /// The first field that contradicts another.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        let AttentionSpec { n_heads, n_kv_heads, head_dim, .. } = self.attention;
        if !n_heads.is_multiple_of(n_kv_heads) {
            let reason = format!("{n_heads} query heads cannot share them evenly");
            return Err(unsupported("number of key and value heads", n_kv_heads, reason));
        }
        if head_dim > MAX_HEAD_DIM {
            return Err(unsupported("values per head", head_dim, format!("at most {MAX_HEAD_DIM}")));
        }
        if let Some(rope) = self.ropes.iter().find(|rope| rope.rotary_dim > head_dim) {
            return Err(unsupported(
                "rotated dimensions",
                rope.rotary_dim,
                format!("a head has only {head_dim}"),
            ));
        }
        if !(self.norm.eps.is_finite() && self.norm.eps >= 0.0) {
            return Err(unsupported(
                "norm epsilon",
                self.norm.eps,
                "it must be finite and not negative".into(),
            ));
        }
        let factors = [
            ("factor on attention scores", Some(self.attention.scale)),
            ("soft cap of attention scores", self.attention.soft_cap),
            ("factor on embeddings", Some(self.embedding.scale)),
            ("soft cap of logits", self.head.soft_cap),
        ];
        for (name, value) in factors {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(unsupported(name, value, "it must be finite and positive".into()));
            }
        }
        for layer in &self.layers {
            if self.biases.ffn && layer.ffn.kind != FfnKind::Plain {
                let reason = "only plain feed-forward networks may have biases".into();
                return Err(unsupported("feed-forward bias", true, reason));
            }
            if let FfnKind::Experts { n_experts, top_k, .. } = layer.ffn.kind
                && top_k > n_experts
            {
                return Err(unsupported(
                    "experts per token",
                    top_k,
                    format!("there are only {n_experts} experts"),
                ));
            }
        }
        Ok(())
    }
}
