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
    /// Other frequencies for sequences that are to become long (longrope).
    pub extended: Option<ExtendedRope>,
}

impl RopeTable {
    /// The frequencies of a sequence.
    pub fn frequencies(&self, range: RopeRange) -> &[f32] {
        match (range, &self.extended) {
            (RopeRange::Extended, Some(extended)) => &extended.inv_freq,
            _ => &self.inv_freq,
        }
    }
}

/// The frequencies of long sequences.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtendedRope {
    /// As [`RopeTable::inv_freq`], and as many.
    pub inv_freq: Vec<f32>,
    /// Sequences of more positions than this are long.
    pub beyond: usize,
}

/// Which frequencies turn a sequence. All its keys and queries must be turned by the same, so that its attention depends on
/// distances alone: it is chosen before the first is computed, by the length that the sequence may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RopeRange {
    /// Those for the context that the model was trained on.
    #[default]
    Original,
    /// Those for longer ones, where the plan has any.
    Extended,
}

/// Which two values of a head form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// `i` and `i + rotary_dim / 2` (Hugging Face, "NEOX").
    Halves,
    /// `2 i` and `2 i + 1` (the original Llama files, GGUF `llama`).
    Adjacent,
}

/// A factor on queries that grows with their position, against attention that flattens over long contexts (Llama 4, Ministral 3):
///
/// ```text
/// 1 + beta * ln(1 + floor(position / interval))
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryScale {
    /// How fast it grows; at least 0.
    pub beta: f32,
    /// Positions that share a factor, usually the trained context length.
    pub interval: usize,
}

impl QueryScale {
    /// The factor at a position.
    pub fn at(&self, position: u32) -> f32 {
        let n_intervals = position as usize / self.interval;
        (1.0 + f64::from(self.beta) * (n_intervals as f64).ln_1p()) as f32
    }
}
