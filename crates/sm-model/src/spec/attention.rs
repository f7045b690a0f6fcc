//! Mixers: how information moves between positions.

use sm_kernels::plan::QueryScale;

use super::check_positive;
use super::rope::RopeSpec;
use crate::LoadError;
use crate::config::{MAX_HEAD_DIM, unsupported};

/// A layer's mixer.
///
/// Each kind of mixer determines a sequence's cache contents: attention stores a key and a value per position.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Mixer {
    /// Causal attention.
    Attention(AttentionSpec),
}

impl Mixer {
    /// The attention, if that is the mixer.
    pub fn attention(&self) -> Option<&AttentionSpec> {
        match self {
            Self::Attention(attention) => Some(attention),
        }
    }

    /// The mutable attention, if that is the mixer.
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
    /// Key and value heads; divides the number of query heads.
    pub n_kv_heads: usize,
    /// Values per head, for queries, keys and values.
    pub head_dim: usize,
    /// Multiplier of the scores.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// A position attends to itself and the `window - 1` positions before it; to all if `None`.
    pub window: Option<usize>,
    /// The rotation of queries and keys; `None` if positions are learned or omitted (SmolLM3's "NoPE" layers).
    pub rope: Option<RopeSpec>,
    /// RMS norms of queries and keys.
    pub qk_norm: Option<QkNorm>,
    /// A factor on queries that grows with their position (Ministral 3).
    pub q_scale: Option<QueryScale>,
    /// Which linear maps have a bias.
    pub bias: AttentionBias,
}

/// Which values query and key norms cover, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QkNorm {
    /// Per head, before the rotation; all heads share the weights (Qwen3, Gemma 3).
    PerHead,
    /// The same after the rotation (HunYuan).
    PerHeadAfterRope,
    /// Over all query heads, and over all key heads, before the rotation; each head has its own weights (OLMo 2).
    AllHeads,
}

/// Which linear maps of an attention have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttentionBias {
    /// The query, key and value projections.
    pub qkv: bool,
    /// The output projection.
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
            q_scale: None,
            bias: AttentionBias::default(),
        }
    }

    /// Total width of the query heads.
    pub(crate) fn q_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Total width of the key heads, equal to that of the value heads.
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
        check_positive("growth of the query scale", self.q_scale.map(|scale| scale.beta))?;
        check_positive("attention scale", Some(self.scale))?;
        check_positive("soft cap of the attention scores", self.soft_cap)
    }
}
