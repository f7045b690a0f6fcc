// Multiplies what follows in a row by its gates: 256 columns a workgroup.

// [row][gates, and as many products beside them]
@group(0) @binding(0) var<storage, read> products: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

struct Params {
    n_rows: u32,
    width: u32,
    products_stride: u32,
    out_stride: u32,
    a: f32,
    b: f32,
    c: f32,
    d: f32,
}
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * COLUMNS;
    let n = min(COLUMNS, p.width - first);
    let gate = group.y * p.products_stride + first;
    let to = group.y * p.out_stride + first;
    for (var i = lane; i < n; i += 64u) {
        out[to + i] = epilogue(products[gate + i]) * products[gate + p.width + i];
    }
    encode(to, n, lane);
}
