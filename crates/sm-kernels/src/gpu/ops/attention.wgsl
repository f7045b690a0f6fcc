// Causal attention of a row and head over the positions of one partition.
//
// Partitions begin at fixed positions, so that what a row gets does not depend on the step that it is in.

@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> step_rows: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> page_table: array<u32>;
@group(0) @binding(3) var<storage, read> keys: array<u32>;
@group(0) @binding(4) var<storage, read> values: array<u32>;
// [row][head][partition][2 + VALUE_DIM]: maximum, sum of weights, weighted sum of values.
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;

struct Params {
    first_row: u32,
    n_partitions: u32,
    q_stride: u32,
    // 0 for none.
    window: u32,
    scale: f32,
    soft_cap: f32,
}
var<immediate> p: Params;

// Padded with zeros to a whole number of words.
var<workgroup> query: array<f32, QUERY_LEN>;
var<workgroup> weights: array<f32, PARTITION>;

fn run(group: vec3<u32>, lane: u32) {
    let head_idx = group.x;
    let kv_head = head_idx / HEADS_PER_KV;
    let row = p.first_row + group.z;
    let info = step_rows[row];
    let end = info.x + 1u;
    let begin = group.y * PARTITION;
    var first = begin;
    if (p.window != 0u && end > p.window) { first = max(begin, end - p.window); }
    let last = min(begin + PARTITION, end);
    for (var i = lane; i < QUERY_LEN; i += 64u) {
        query[i] = 0.0;
        if (i < KEY_DIM) { query[i] = q[row * p.q_stride + head_idx * KEY_DIM + i]; }
    }
    workgroupBarrier();
    var largest = LOWEST;
    for (var j = begin + lane; j < begin + PARTITION; j += 64u) {
        var score = LOWEST;
        if (j >= first && j < last) {
            let page = page_table[info.y + j / PAGE_LEN];
            score = dot_key((page * N_KV_HEADS + kv_head) * PAGE_LEN + j % PAGE_LEN) * p.scale;
            if (HAS_SOFT_CAP) { score = p.soft_cap * tanh(clamp(score / p.soft_cap, -15.0, 15.0)); }
            largest = max(largest, score);
        }
        weights[j - begin] = score;
    }
    largest = max_lanes(largest, lane);
    var sum = 0.0;
    for (var j = begin + lane; j < begin + PARTITION; j += 64u) {
        var weight = 0.0;
        if (j >= first && j < last) { weight = exp(weights[j - begin] - largest); }
        weights[j - begin] = weight;
        sum += weight;
    }
    sum = sum_lanes(sum, lane);
    let at = ((group.z * N_HEADS + head_idx) * p.n_partitions + group.y) * (VALUE_DIM + 2u);
    if (lane == 0u) {
        partials[at] = largest;
        partials[at + 1u] = sum;
    }
    for (var i = lane; i < VALUE_PAIRS; i += 64u) {
        var total = vec2<f32>(0.0);
        for (var j = first; j < last; j++) {
            let page = page_table[info.y + j / PAGE_LEN];
            let v = value_pair((page * N_KV_HEADS + kv_head) * PAGE_LEN + j % PAGE_LEN, i);
            total = fma(vec2<f32>(weights[j - begin]), v, total);
        }
        partials[at + 2u + 2u * i] = total.x;
        if (2u * i + 1u < VALUE_DIM) { partials[at + 3u + 2u * i] = total.y; }
    }
}
