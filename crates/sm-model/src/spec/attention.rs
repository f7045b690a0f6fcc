//! What mixes information between the positions of a sequence.

use super::check_positive;
use super::rope::RopeSpec;
use crate::LoadError;
use crate::config::{MAX_HEAD_DIM, unsupported};

/// What mixes information between positions in a layer.
///
/// Each kind of mixer says what a sequence leaves behind in the cache: attention leaves a key and a value per position.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mixer {
    /// Causal attention.
    Attention(AttentionSpec),
}

impl Mixer {
    /// The attention, if that is what mixes positions here.
    pub fn attention(&self) -> Option<&AttentionSpec> {
        match self {
            Self::Attention(attention) => Some(attention),
        }
    }

    /// The attention, to be changed.
    pub(crate) fn attention_mut(&mut self) -> Option<&mut AttentionSpec> {
        match self {
            Self::Attention(attention) => Some(attention),
        }
    }
}

/// Causal attention with grouped heads: query head `h` reads key head `h / (n_heads / n_kv_heads)`.
///
/// ```text
/// q, k, v = rotate(norm(Wq x + bq)), rotate(norm(Wk x + bk)), Wv x + bv
/// out     = Wo softmax(cap(scale * q k^T)) v + bo
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttentionSpec {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; they divide the query heads.
    pub n_kv_heads: usize,
    /// Values per head, the same for queries, keys and values.
    pub head_dim: usize,
    /// Multiplier of the scores.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// A position attends to itself and the `window - 1` positions before it; to all of them if `None`.
    pub window: Option<usize>,
    /// The rotation of queries and keys; `None` where positions are learned, or left out (SmolLM3's "NoPE" layers).
    pub rope: Option<RopeSpec>,
    /// RMS norms of queries and keys before the rotation.
    pub qk_norm: Option<QkNorm>,
    /// Which linear maps have a bias.
    pub bias: AttentionBias,
}

/// Which values of a position the norms of queries and keys take together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QkNorm {
    /// Those of a head; all heads share the weights (Qwen3, Gemma 3).
    PerHead,
    /// Those of all query heads, and those of all key heads; each head has weights of its own (OLMo 2).
    AllHeads,
}

/// Which linear maps of an attention have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttentionBias {
    /// Those to queries, keys and values.
    pub qkv: bool,
    /// The one from the heads' results back to the residual stream.
    pub out: bool,
}

impl AttentionSpec {
    /// Plain attention: scores scaled by `1 / sqrt(head_dim)`, no window, no rotation, no norms, no biases.
    pub(crate) fn new(n_heads: usize, n_kv_heads: usize, head_dim: usize) -> Self {
        Self {
            n_heads,
            n_kv_heads,
            head_dim,
            scale: (1.0 / (head_dim as f64).sqrt()) as f32,
            soft_cap: None,
            window: None,
            rope: None,
            qk_norm: None,
            bias: AttentionBias::default(),
        }
    }

    /// Values of all query heads.
    pub(crate) fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Values of all key heads, and as many of all value heads.
    pub(crate) fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    pub(super) fn check(&self) -> Result<(), LoadError> {
        let &Self { n_heads, n_kv_heads, head_dim, .. } = self;
        if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
            let reason = format!("{n_heads} query heads cannot share them evenly");
            return Err(unsupported("number of key and value heads", n_kv_heads, reason));
        }
        if head_dim > MAX_HEAD_DIM {
            return Err(unsupported("values per head", head_dim, format!("at most {MAX_HEAD_DIM}")));
        }
        if let Some(rope) = &self.rope
            && rope.rotary_dim > head_dim
        {
            let reason = format!("a head has only {head_dim} values");
            return Err(unsupported("rotated dimensions", rope.rotary_dim, reason));
        }
        check_positive("attention scale", Some(self.scale))?;
        check_positive("soft cap of the attention scores", self.soft_cap)
    }
}
