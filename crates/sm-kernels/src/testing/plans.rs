//! A small decoder with random weights.

use sm_tensor::DType;

use crate::plan::{
    Activation, Attention, BufferId, Embed, Encoding, Experts, GatedLinear, GatherRows, Linear, MatrixId,
    MatrixPart, MoeFfn, Norm, NormKind, Plan, PlanBuilder, RopeId, RopePairs, RopeStore, RopeTable, Rows,
    Store, VectorId,
};

/// Tokens of [`decoder`].
pub const VOCAB_SIZE: usize = 40;
const HIDDEN: usize = 64;
const FFN: usize = 96;
const N_HEADS: usize = 4;
const N_LAYERS: usize = 2;
const N_KV_HEADS: usize = 2;
const HEAD_DIM: usize = 16;
/// Positions of [`decoder`]: more than two groups of an attention.
pub const CONTEXT_LEN: usize = 600;
const EPS: f32 = 1e-5;

/// A decoder of two layers, grouped queries, a window in the second layer; matrices but the table of `dtype`.
pub fn decoder(dtype: DType) -> Plan {
    let mut builder = PlanBuilder::new(CONTEXT_LEN);
    let buffers = Buffers::declare(&mut builder);
    let table = matrix(&mut builder, "table", HIDDEN, &[(VOCAB_SIZE, DType::F32)]);
    let norm = builder.vector("norm", HIDDEN, vec!["norm".to_owned()]);
    let inv_freq = (0..HEAD_DIM / 2).map(|i| 10000_f32.powf(-2.0 * i as f32 / HEAD_DIM as f32)).collect();
    let rope = builder.rope(RopeTable { inv_freq, scale: 1.0, pairs: RopePairs::Halves });
    builder.push(Embed { table, positions: None, scale: 1.0, out: buffers.x });
    for layer in 0..N_LAYERS {
        push_layer(&mut builder, &Layer { layer, dtype, norm, rope }, &buffers);
    }
    builder.push(GatherRows { x: buffers.x, out: buffers.out });
    builder.push(norm_op(buffers.out, norm, buffers.out_norm));
    builder.hidden(buffers.out_norm);
    builder.push(linear_op(buffers.out_norm, table, Store::Write, buffers.logits));
    builder.finish(buffers.logits)
}

/// One feed-forward of four experts, two chosen; experts' matrices of `dtype`, the router `f32`.
pub fn experts(dtype: DType) -> Plan {
    const N_EXPERTS: usize = 4;
    const EXPERT_FFN: usize = 32;
    let mut builder = PlanBuilder::new(CONTEXT_LEN);
    let x = builder.buffer("x", Rows::Tokens, HIDDEN, Encoding::F32);
    let h = builder.buffer("h", Rows::Tokens, HIDDEN, Encoding::F32AndInt8);
    let y = builder.buffer("y", Rows::Tokens, HIDDEN, Encoding::F32);
    let logits = builder.buffer("logits", Rows::Outputs, HIDDEN, Encoding::F32);
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
    qkv: BufferId,
    q: BufferId,
    attn: BufferId,
    ffn: BufferId,
    out: BufferId,
    out_norm: BufferId,
    logits: BufferId,
}

impl Buffers {
    fn declare(builder: &mut PlanBuilder) -> Self {
        let (tokens, outputs, both) = (Rows::Tokens, Rows::Outputs, Encoding::F32AndInt8);
        let qkv_width = (N_HEADS + 2 * N_KV_HEADS) * HEAD_DIM;
        Self {
            x: builder.buffer("x", tokens, HIDDEN, Encoding::F32),
            h: builder.buffer("h", tokens, HIDDEN, both),
            qkv: builder.buffer("qkv", tokens, qkv_width, Encoding::F32),
            q: builder.buffer("q", tokens, N_HEADS * HEAD_DIM, Encoding::F32),
            attn: builder.buffer("attn", tokens, N_HEADS * HEAD_DIM, both),
            ffn: builder.buffer("ffn", tokens, FFN, both),
            out: builder.buffer("out", outputs, HIDDEN, Encoding::F32),
            out_norm: builder.buffer("out_norm", outputs, HIDDEN, both),
            logits: builder.buffer("logits", outputs, VOCAB_SIZE, Encoding::F32),
        }
    }
}

struct Layer {
    layer: usize,
    dtype: DType,
    norm: VectorId,
    rope: RopeId,
}

fn push_layer(builder: &mut PlanBuilder, layer: &Layer, buffers: &Buffers) {
    let &Layer { layer: index, dtype, norm, rope } = layer;
    let &Buffers { x, h, qkv, q, attn, ffn, .. } = buffers;
    let (q_rows, kv_rows) = (N_HEADS * HEAD_DIM, N_KV_HEADS * HEAD_DIM);
    let mut named = |name: &str, cols, rows: &[usize]| {
        let parts: Vec<_> = rows.iter().map(|&rows| (rows, dtype)).collect();
        matrix(builder, &format!("{name}.{index}"), cols, &parts)
    };
    let qkv_weight = named("qkv", HIDDEN, &[q_rows, kv_rows, kv_rows]);
    let o_weight = named("o", q_rows, &[HIDDEN]);
    let gate = named("gate", HIDDEN, &[FFN]);
    let up = named("up", HIDDEN, &[FFN]);
    let down = named("down", FFN, &[HIDDEN]);
    let window = (index == 1).then_some(20);
    let kv = builder.kv(N_KV_HEADS, HEAD_DIM, HEAD_DIM);
    builder.begin_layer();
    builder.push(norm_op(x, norm, h));
    builder.push(linear_op(h, qkv_weight, Store::Write, qkv));
    builder.push(RopeStore { qkv, kv, rope: Some(rope), q_norm: None, k_norm: None, norm_eps: EPS, q });
    builder.push(Attention { q, kv, n_heads: N_HEADS, scale: 0.25, window, soft_cap: None, out: attn });
    builder.push(linear_op(attn, o_weight, Store::Add, x));
    builder.push(norm_op(x, norm, h));
    builder.push(GatedLinear { x: h, gate, up, activation: Activation::Silu, out: ffn });
    builder.push(linear_op(ffn, down, Store::Add, x));
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
