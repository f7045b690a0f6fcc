// Takes q, k and v apart, normalises and rotates q and k, writes q out and k and v into the pages: a workgroup a head.
//
// Cosines and sines come from the host, which computes them in double precision: those of a GPU may be wrong by 2^-11, and
// by anything for large angles.

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> step_rows: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> page_table: array<u32>;
@group(0) @binding(3) var<storage, read> angles: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> norms: array<f32>;
@group(0) @binding(5) var<storage, read_write> keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> values: array<u32>;
@group(0) @binding(7) var<storage, read_write> q: array<f32>;

struct Params {
    n_rows: u32,
    qkv_stride: u32,
    q_stride: u32,
    eps: f32,
    beta: f32,
    interval: u32,
}
var<immediate> p: Params;

var<workgroup> head: array<f32, MAX_DIM>;

// 1 / rms of `len` values of the row.
fn inverse_rms(first: u32, len: u32, lane: u32) -> f32 {
    var squares = 0.0;
    for (var i = lane; i < len; i += 64u) {
        let v = qkv[first + i];
        squares = fma(v, v, squares);
    }
    return 1.0 / sqrt(sum_lanes(squares, lane) / f32(len) + p.eps);
}

fn inverse_rms_of_head(lane: u32) -> f32 {
    var squares = 0.0;
    for (var i = lane; i < KEY_DIM; i += 64u) { squares = fma(head[i], head[i], squares); }
    return 1.0 / sqrt(sum_lanes(squares, lane) / f32(KEY_DIM) + p.eps);
}

// The norm's weights of a head begin at `weight`; `all_heads` of them are normalised together.
fn normalise(norm: u32, first: u32, index: u32, n_heads: u32, weight: u32, lane: u32) {
    if (norm == NORM_NONE) { return; }
    var inverse = 0.0;
    if (norm == NORM_AFTER) { inverse = inverse_rms_of_head(lane); }
    if (norm == NORM_HEAD) { inverse = inverse_rms(first + index * KEY_DIM, KEY_DIM, lane); }
    if (norm == NORM_ALL) { inverse = inverse_rms(first, n_heads * KEY_DIM, lane); }
    let first_weight = weight + select(0u, index * KEY_DIM, norm == NORM_ALL);
    for (var i = lane; i < KEY_DIM; i += 64u) { head[i] = head[i] * inverse * norms[first_weight + i]; }
    workgroupBarrier();
}

fn rotate(row: u32, lane: u32) {
    for (var i = lane; i < N_PAIRS; i += 64u) {
        let turn = angles[row * N_PAIRS + i];
        let first = select(i, 2u * i, IS_ADJACENT);
        let second = select(i + N_PAIRS, 2u * i + 1u, IS_ADJACENT);
        let a = head[first];
        let b = head[second];
        head[first] = a * turn.x - b * turn.y;
        head[second] = b * turn.x + a * turn.y;
    }
    workgroupBarrier();
}

fn run(group: vec3<u32>, lane: u32) {
    let row = group.y;
    let info = step_rows[row];
    let is_q = group.x < N_HEADS;
    let is_k = !is_q && group.x < N_HEADS + N_KV_HEADS;
    let first_k = row * p.qkv_stride + N_HEADS * KEY_DIM;
    let first_v = first_k + N_KV_HEADS * KEY_DIM;
    var index = group.x;
    var first = row * p.qkv_stride;
    var dim = KEY_DIM;
    if (is_k) { index -= N_HEADS; first = first_k; }
    if (!is_q && !is_k) { index -= N_HEADS + N_KV_HEADS; first = first_v; dim = VALUE_DIM; }
    for (var i = lane; i < MAX_DIM; i += 64u) {
        head[i] = 0.0;
        if (i < dim) { head[i] = qkv[first + index * dim + i]; }
    }
    workgroupBarrier();
    if (is_q || is_k) {
        let norm = select(K_NORM, Q_NORM, is_q);
        let n_heads = select(N_KV_HEADS, N_HEADS, is_q);
        let weight = select(K_NORM_AT, 0u, is_q);
        if (norm != NORM_AFTER) { normalise(norm, first, index, n_heads, weight, lane); }
        rotate(row, lane);
        if (norm == NORM_AFTER) { normalise(norm, first, index, n_heads, weight, lane); }
    }
    if (is_q) {
        var scale = 1.0;
        if (HAS_SCALE) { scale = 1.0 + p.beta * log(1.0 + f32(info.x / p.interval)); }
        for (var i = lane; i < KEY_DIM; i += 64u) {
            var v = head[i];
            if (HAS_SCALE) { v *= scale; }
            q[row * p.q_stride + index * KEY_DIM + i] = v;
        }
    } else {
        let page = page_table[info.y + info.x / PAGE_LEN];
        let slot = (page * N_KV_HEADS + index) * PAGE_LEN + info.x % PAGE_LEN;
        store_head(is_k, slot, lane);
    }
}
