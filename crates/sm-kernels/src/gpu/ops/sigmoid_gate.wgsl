// Multiplies each row by the sigmoid of a product.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

struct Params { n_rows: u32, x_width: u32, x_stride: u32, width: u32, stride: u32 }
var<immediate> p: Params;

fn run(group: vec3<u32>, lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < p.x_width; i += 64u) {
        sum = fma(weight[i], x[group.y * p.x_stride + i], sum);
    }
    let gate = 1.0 / (1.0 + exp(-sum_lanes(sum, lane)));
    let row = group.y * p.stride;
    for (var i = lane; i < p.width; i += 64u) {
        var v = gate * values[row + i];
        if (STORE == ADD) { v += out[row + i]; }
        out[row + i] = v;
    }
}
