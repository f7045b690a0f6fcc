//! Rotary embeddings: a position as a rotation of pairs of values.
//!
//! Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", <https://arxiv.org/abs/2104.09864>.

/// A rotary embedding: pair `i` at position `p` turns by `p * inv_freq[i]`, and the result is scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTable {
    /// Radians per position, one per pair; twice their number is the rotated part of a head, the rest stays.
    pub inv_freq: Vec<f32>,
    /// Factor on sine and cosine (YaRN's and longrope's attention factor; 1 otherwise).
    pub scale: f32,
    /// How pairs are formed.
    pub pairs: RopePairs,
}

/// Which two values of a head form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// `i` and `i + rotary_dim / 2` (Hugging Face, "NEOX").
    Halves,
    /// `2 i` and `2 i + 1` (the original Llama files, GGUF `llama`).
    Adjacent,
}
