// Where a product stores its sums.

@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

struct Params {
    n_rows: u32,
    segments: u32,
    // Outputs of this part of the matrix, and the first of them.
    n_outputs: u32,
    first_output: u32,
    // In vectors of four.
    x_stride: u32,
    out_stride: u32,
    a: f32,
    b: f32,
    c: f32,
    d: f32,
}
var<immediate> p: Params;

fn store(row: u32, output: u32, sum: f32) {
    store_at(row, p.first_output + output, sum);
}

fn store_at(row: u32, column: u32, sum: f32) {
    let at = row * p.out_stride + column;
    var v = sum;
    if (HAS_BIAS) { v += bias[column]; }
    v = epilogue(v);
    if (STORE == ADD) { v += out[at]; }
    out[at] = v;
}
