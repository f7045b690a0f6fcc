//! A small decoder with random weights.

use sm_tensor::DType;

use crate::plan::{
    Activation, Attention, BufferId, Embed, Experts, GatedLinear, GatherRows, Linear, MatrixId, MatrixPart,
    MoeFfn, Norm, NormKind, NormOrder, Plan, PlanBuilder, RopePairs, RopeStore, RopeTable, Rows, Store,
    VectorId,
};

/// Tokens of [`decoder`].
pub const VOCAB_SIZE: usize = 40;
const HIDDEN: usize = 64;
const FFN: usize = 96;
/// The layers of [`decoder`].
const LAYER: LayerShape =
    LayerShape { n_heads: 4, n_kv_heads: 2, head_dim: 16, window: None, norm_first: true };
const LAYERS: [LayerShape; 2] = [LAYER, LayerShape { window: Some(20), ..LAYER }];
/// Those of [`mixed_decoder`].
const MIXED_LAYERS: [LayerShape; 4] = [
    LAYER,
    LayerShape { n_heads: 2, n_kv_heads: 1, head_dim: 32, ..LAYER },
    LayerShape { window: Some(20), norm_first: false, ..LAYER },
    LayerShape { n_heads: 4, n_kv_heads: 4, head_dim: 8, ..LAYER },
];
/// Positions of [`decoder`]: more than two groups of an attention.
pub const CONTEXT_LEN: usize = 600;
const EPS: f32 = 1e-5;

/// A decoder of two layers, grouped queries, a window in the second layer; matrices but the table of `dtype`.
pub fn decoder(dtype: DType) -> Plan {
    decoder_of(&LAYERS, dtype)
}

/// A decoder whose layers differ in their heads; one of them multiplies the residual without a norm before.
pub fn mixed_decoder(dtype: DType) -> Plan {
    decoder_of(&MIXED_LAYERS, dtype)
}

/// What layers may differ in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct LayerShape {
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    norm_first: bool,
}

fn decoder_of(layers: &[LayerShape], dtype: DType) -> Plan {
    let mut builder = PlanBuilder::new(CONTEXT_LEN);
    let buffers = Buffers::declare(&mut builder);
    let mut heads: Vec<(usize, HeadBuffers)> = Vec::new();
    for shape in layers {
        let qkv_width = (shape.n_heads + 2 * shape.n_kv_heads) * shape.head_dim;
        if !heads.iter().any(|(width, _)| *width == qkv_width) {
            heads.push((qkv_width, HeadBuffers::declare(&mut builder, shape)));
        }
    }
    let outputs = Outputs::declare(&mut builder);
    let table = matrix(&mut builder, "table", HIDDEN, &[(VOCAB_SIZE, DType::F32)]);
    let norm = builder.vector("norm", HIDDEN, vec!["norm".to_owned()]);
    builder.push(Embed { table, positions: None, scale: 1.0, out: buffers.x });
    for (index, &shape) in layers.iter().enumerate() {
        let qkv_width = (shape.n_heads + 2 * shape.n_kv_heads) * shape.head_dim;
        let (_, heads) = heads.iter().find(|(width, _)| *width == qkv_width).expect("declared above");
        let layer = Layer { index, shape, dtype, norm };
        layer.push_attention(&mut builder, &buffers, heads);
        layer.push_ffn(&mut builder, &buffers);
    }
    builder.push(GatherRows { x: buffers.x, out: outputs.out });
    builder.push(norm_op(outputs.out, norm, outputs.out_norm));
    builder.hidden(outputs.out_norm);
    builder.push(linear_op(outputs.out_norm, table, Store::Write, outputs.logits));
    builder.finish(outputs.logits)
}

/// One feed-forward of four experts, two chosen; experts' matrices of `dtype`, the router `f32`.
pub fn experts(dtype: DType) -> Plan {
    const N_EXPERTS: usize = 4;
    const EXPERT_FFN: usize = 32;
    let mut builder = PlanBuilder::new(CONTEXT_LEN);
    let x = builder.buffer("x", Rows::Tokens, HIDDEN);
    let h = builder.buffer("h", Rows::Tokens, HIDDEN);
    let y = builder.buffer("y", Rows::Tokens, HIDDEN);
    let logits = builder.buffer("logits", Rows::Outputs, HIDDEN);
    let norm = builder.vector("norm", HIDDEN, vec!["norm".to_owned()]);
    let table = matrix(&mut builder, "table", HIDDEN, &[(VOCAB_SIZE, DType::F32)]);
    let experts = Experts {
        router: matrix(&mut builder, "router", HIDDEN, &[(N_EXPERTS, DType::F32)]),
        gate: matrix(&mut builder, "gate", HIDDEN, &[(EXPERT_FFN, dtype); N_EXPERTS]),
        up: matrix(&mut builder, "up", HIDDEN, &[(EXPERT_FFN, dtype); N_EXPERTS]),
        down: matrix(&mut builder, "down", EXPERT_FFN, &[(HIDDEN, dtype); N_EXPERTS]),
        n_experts: N_EXPERTS,
        top_k: 2,
        renormalize: true,
        activation: Activation::Silu,
    };
    builder.push(Embed { table, positions: None, scale: 1.0, out: x });
    builder.push(norm_op(x, norm, h));
    builder.push(MoeFfn { x: h, experts, store: Store::Write, out: y });
    builder.push(GatherRows { x: y, out: logits });
    builder.finish(logits)
}

struct Buffers {
    x: BufferId,
    h: BufferId,
    ffn: BufferId,
}

struct HeadBuffers {
    qkv: BufferId,
    q: BufferId,
    attn: BufferId,
}

struct Outputs {
    out: BufferId,
    out_norm: BufferId,
    logits: BufferId,
}

impl Buffers {
    fn declare(builder: &mut PlanBuilder) -> Self {
        let mut buffer = |name, width| builder.buffer(name, Rows::Tokens, width);
        Self { x: buffer("x", HIDDEN), h: buffer("h", HIDDEN), ffn: buffer("ffn", FFN) }
    }
}

impl HeadBuffers {
    fn declare(builder: &mut PlanBuilder, shape: &LayerShape) -> Self {
        let &LayerShape { n_heads, n_kv_heads, head_dim, .. } = shape;
        let mut buffer = |name, n_heads| builder.buffer(name, Rows::Tokens, n_heads * head_dim);
        Self {
            qkv: buffer("qkv", n_heads + 2 * n_kv_heads),
            q: buffer("q", n_heads),
            attn: buffer("attn", n_heads),
        }
    }
}

impl Outputs {
    fn declare(builder: &mut PlanBuilder) -> Self {
        let mut buffer = |name, width| builder.buffer(name, Rows::Outputs, width);
        Self {
            out: buffer("out", HIDDEN),
            out_norm: buffer("out_norm", HIDDEN),
            logits: buffer("logits", VOCAB_SIZE),
        }
    }
}

struct Layer {
    index: usize,
    shape: LayerShape,
    dtype: DType,
    norm: VectorId,
}

impl Layer {
    fn matrix(&self, builder: &mut PlanBuilder, name: &str, cols: usize, rows: &[usize]) -> MatrixId {
        let parts: Vec<_> = rows.iter().map(|&rows| (rows, self.dtype)).collect();
        matrix(builder, &format!("{name}.{}", self.index), cols, &parts)
    }

    fn push_attention(&self, builder: &mut PlanBuilder, buffers: &Buffers, heads: &HeadBuffers) {
        let LayerShape { n_heads, n_kv_heads, head_dim, window, norm_first } = self.shape;
        let (&Buffers { x, h, .. }, &HeadBuffers { qkv, q, attn }) = (buffers, heads);
        let q_rows = n_heads * head_dim;
        let kv_rows = n_kv_heads * head_dim;
        let qkv_weight = self.matrix(builder, "qkv", HIDDEN, &[q_rows, kv_rows, kv_rows]);
        let o_weight = self.matrix(builder, "o", q_rows, &[HIDDEN]);
        let inv_freq = (0..head_dim / 2).map(|i| 10000_f32.powf(-2.0 * i as f32 / head_dim as f32)).collect();
        let rope = RopeTable { inv_freq, scale: 1.0, pairs: RopePairs::Halves, extended: None };
        let rope = Some(builder.rope(rope));
        let kv = builder.kv(n_kv_heads, head_dim, head_dim);
        builder.begin_layer();
        if norm_first {
            builder.push(norm_op(x, self.norm, h));
        }
        let factor = if norm_first { h } else { x };
        builder.push(linear_op(factor, qkv_weight, Store::Write, qkv));
        builder.push(RopeStore {
            qkv,
            kv,
            rope,
            q_norm: None,
            k_norm: None,
            norm_eps: EPS,
            norm_order: NormOrder::BeforeRope,
            q_scale: None,
            q,
        });
        builder.push(Attention { q, kv, n_heads, scale: 0.25, window, soft_cap: None, out: attn });
        builder.push(linear_op(attn, o_weight, Store::Add, x));
    }

    fn push_ffn(&self, builder: &mut PlanBuilder, buffers: &Buffers) {
        let &Buffers { x, h, ffn } = buffers;
        let gate = self.matrix(builder, "gate", HIDDEN, &[FFN]);
        let up = self.matrix(builder, "up", HIDDEN, &[FFN]);
        let down = self.matrix(builder, "down", FFN, &[HIDDEN]);
        builder.push(norm_op(x, self.norm, h));
        builder.push(GatedLinear { x: h, gate, up, activation: Activation::Silu, out: ffn });
        builder.push(linear_op(ffn, down, Store::Add, x));
    }
}

fn norm_op(x: BufferId, weight: VectorId, out: BufferId) -> Norm {
    Norm { x, kind: NormKind::Rms, weight, bias: None, eps: EPS, store: Store::Write, out }
}

fn linear_op(x: BufferId, weight: MatrixId, store: Store, out: BufferId) -> Linear {
    Linear { store, ..Linear::new(x, weight, out) }
}

fn matrix(builder: &mut PlanBuilder, name: &str, cols: usize, parts: &[(usize, DType)]) -> MatrixId {
    let part = |(index, &(rows, dtype)): (usize, &(usize, DType))| MatrixPart {
        tensor: format!("{name}.{index}"),
        dtype,
        rows,
    };
    builder.matrix(name, cols, parts.iter().enumerate().map(part).collect())
}
