// Merges the partitions of a row, in order: HEADS heads a workgroup, as many as fill whole blocks where it encodes them.

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read> step_rows: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

struct Params {
    first_row: u32,
    n_partitions: u32,
    out_stride: u32,
    // 0 for none.
    window: u32,
}
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = p.first_row + group.z;
    let end = step_rows[row].x + 1u;
    var begin = 0u;
    if (p.window != 0u && end > p.window) { begin = (end - p.window) / PARTITION; }
    let last = (end - 1u) / PARTITION;
    let first_head = group.x * HEADS;
    let n_heads = min(HEADS, N_HEADS - first_head);
    let first = row * p.out_stride + first_head * VALUE_DIM;
    for (var head = 0u; head < n_heads; head++) {
        let base = (group.z * N_HEADS + first_head + head) * p.n_partitions;
        var largest = LOWEST;
        for (var s = begin; s <= last; s++) { largest = max(largest, partials[(base + s) * (VALUE_DIM + 2u)]); }
        var sum = 0.0;
        for (var s = begin; s <= last; s++) {
            let at = (base + s) * (VALUE_DIM + 2u);
            sum = fma(partials[at + 1u], exp(partials[at] - largest), sum);
        }
        for (var i = lane; i < VALUE_DIM; i += 64u) {
            var total = 0.0;
            for (var s = begin; s <= last; s++) {
                let at = (base + s) * (VALUE_DIM + 2u);
                total = fma(partials[at + 2u + i], exp(partials[at] - largest), total);
            }
            out[first + head * VALUE_DIM + i] = total / sum;
        }
    }
    encode(first, n_heads * VALUE_DIM, lane);
}
