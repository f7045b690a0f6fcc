//! The operations of a plan and their parameters.

use super::{BufferId, KvId, MatrixId, RopeId, VectorId};

/// A pointwise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `0.5 x (1 + erf(x / sqrt(2)))`.
    GeluErf,
}

/// Which normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps) * weight`.
    Rms,
    /// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias`.
    Layer,
}

/// What happens to the values that the output buffer held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// They are replaced.
    Write,
    /// The result is added to them (a residual connection); the buffer is [`Encoding::F32`](super::Encoding::F32).
    Add,
}

/// What a [`Op::Linear`] does with its result before it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// Applies a non-linearity.
    Activation(Activation),
    /// `cap * tanh(x / cap)`.
    SoftCap(f32),
}

/// Which two values of a head form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// `i` and `i + rotary_dim / 2` (Hugging Face, "NEOX").
    Halves,
    /// `2 i` and `2 i + 1` (the original Llama files, GGUF `llama`).
    Adjacent,
}

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

/// The shape of an attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionParams {
    /// Query heads; a multiple of the layer's key heads.
    pub n_heads: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// A position sees itself and the `window - 1` before it; all before it if none.
    pub window: Option<usize>,
    /// Scores become `cap * tanh(score / cap)`, before the mask.
    pub soft_cap: Option<f32>,
}

/// The feed-forward experts of a layer. Row `e * ffn + i` of a matrix belongs to expert `e`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// `[n_experts, hidden]`.
    pub router: MatrixId,
    /// `[n_experts * ffn, hidden]`.
    pub gate: MatrixId,
    /// `[n_experts * ffn, hidden]`.
    pub up: MatrixId,
    /// `[n_experts * hidden, ffn]`.
    pub down: MatrixId,
    /// Number of experts.
    pub n_experts: usize,
    /// Experts used per token: those of the highest probability, ties to the lower index.
    pub top_k: usize,
    /// Whether the chosen probabilities are divided by their sum (the softmax is over all experts).
    pub renormalize: bool,
    /// The non-linearity on the gate.
    pub activation: Activation,
}

/// One operation. Fused where decode speed needs it, and no further.
///
/// `[n]` stands for the rows of a buffer.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `out[n] = table[token[n]] * scale + positions[position[n]]`.
    Embed {
        /// `[vocab_size, hidden]`.
        table: MatrixId,
        /// Learned positions, `[context_len or more, hidden]`.
        positions: Option<MatrixId>,
        /// Factor on the table's row.
        scale: f32,
        /// `[tokens, hidden]`.
        out: BufferId,
    },
    /// Normalises each row.
    Norm {
        /// `[rows, width]`, `f32`.
        x: BufferId,
        /// Which normalisation.
        kind: NormKind,
        /// `[width]`.
        weight: VectorId,
        /// `[width]`.
        bias: Option<VectorId>,
        /// Added to the mean square or the variance.
        eps: f32,
        /// Replace or add.
        store: Store,
        /// `[rows, width]`.
        out: BufferId,
    },
    /// `out[n] = epilogue(weight * x[n] + bias)`.
    Linear {
        /// `[rows, in_features]`.
        x: BufferId,
        /// `[out_features, in_features]`.
        weight: MatrixId,
        /// `[out_features]`.
        bias: Option<VectorId>,
        /// Applied to each value.
        epilogue: Epilogue,
        /// Replace or add.
        store: Store,
        /// `[rows, out_features]`.
        out: BufferId,
    },
    /// `out[n] = activation(gate * x[n]) * (up * x[n])`.
    GatedLinear {
        /// `[rows, in_features]`.
        x: BufferId,
        /// `[out_features, in_features]`.
        gate: MatrixId,
        /// `[out_features, in_features]`.
        up: MatrixId,
        /// The non-linearity on the gate.
        activation: Activation,
        /// `[rows, out_features]`.
        out: BufferId,
    },
    /// Takes q, k and v apart, normalises q and k per head, rotates them, writes q out and k and v into the pages.
    RopeStore {
        /// `[tokens, (n_heads + 2 * n_kv_heads) * head_dim]`, `f32`: q heads, then k heads, then v heads.
        qkv: BufferId,
        /// The layer's keys and values in the pages.
        kv: KvId,
        /// The rotation; none for learned positions.
        rope: Option<RopeId>,
        /// `[head_dim]`: RMS norm of each q head before the rotation.
        q_norm: Option<VectorId>,
        /// `[head_dim]`: the same for k.
        k_norm: Option<VectorId>,
        /// Epsilon of the two norms.
        norm_eps: f32,
        /// `[tokens, n_heads * head_dim]`, `f32`.
        q: BufferId,
    },
    /// Causal attention over the pages.
    Attention {
        /// `[tokens, n_heads * head_dim]`, `f32`.
        q: BufferId,
        /// The layer's keys and values in the pages.
        kv: KvId,
        /// Heads, scale, window, soft cap.
        params: AttentionParams,
        /// `[tokens, n_heads * head_dim]`.
        out: BufferId,
    },
    /// Routes each row to a few experts and stores the weighted sum of their outputs.
    MoeFfn {
        /// `[rows, hidden]`: `f32` where the router or an expert matrix is not quantized, int8 where one is.
        x: BufferId,
        /// The matrices and how they are chosen.
        experts: Experts,
        /// Replace or add.
        store: Store,
        /// `[rows, hidden]`.
        out: BufferId,
    },
    /// Keeps only the rows of which something is wanted.
    GatherRows {
        /// `[tokens, width]`, `f32`.
        x: BufferId,
        /// `[outputs, width]`, `f32`.
        out: BufferId,
    },
}

impl Op {
    /// The name in the plan's text form.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Embed { .. } => "embed",
            Self::Norm { .. } => "norm",
            Self::Linear { .. } => "linear",
            Self::GatedLinear { .. } => "gated_linear",
            Self::RopeStore { .. } => "rope_store",
            Self::Attention { .. } => "attention",
            Self::MoeFfn { .. } => "moe_ffn",
            Self::GatherRows { .. } => "gather_rows",
        }
    }

    /// The buffer that is read, besides the old values of the output.
    pub const fn input(&self) -> Option<BufferId> {
        match self {
            Self::Embed { .. } => None,
            Self::Norm { x, .. }
            | Self::Linear { x, .. }
            | Self::GatedLinear { x, .. }
            | Self::MoeFfn { x, .. }
            | Self::GatherRows { x, .. } => Some(*x),
            Self::RopeStore { qkv, .. } => Some(*qkv),
            Self::Attention { q, .. } => Some(*q),
        }
    }

    /// The buffer that is written.
    pub const fn output(&self) -> BufferId {
        match self {
            Self::Embed { out, .. }
            | Self::Norm { out, .. }
            | Self::Linear { out, .. }
            | Self::GatedLinear { out, .. }
            | Self::Attention { out, .. }
            | Self::MoeFfn { out, .. }
            | Self::GatherRows { out, .. } => *out,
            Self::RopeStore { q, .. } => *q,
        }
    }

    /// What happens to the old values of the output.
    pub const fn store(&self) -> Store {
        match self {
            Self::Norm { store, .. } | Self::Linear { store, .. } | Self::MoeFfn { store, .. } => *store,
            Self::Embed { .. }
            | Self::GatedLinear { .. }
            | Self::RopeStore { .. }
            | Self::Attention { .. }
            | Self::GatherRows { .. } => Store::Write,
        }
    }
}
