// RMS norm and layer norm of rows: a workgroup a row.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

struct Params { n_rows: u32, width: u32, stride: u32, eps: f32 }
var<immediate> p: Params;

fn run(group: vec3<u32>, lane: u32) {
    let row = group.y * p.stride;
    var mean = 0.0;
    if (IS_LAYER) {
        var sum = 0.0;
        for (var i = lane; i < p.width; i += 64u) { sum += x[row + i]; }
        mean = sum_lanes(sum, lane) / f32(p.width);
    }
    var squares = 0.0;
    for (var i = lane; i < p.width; i += 64u) {
        let v = x[row + i] - mean;
        squares = fma(v, v, squares);
    }
    let inverse = 1.0 / sqrt(sum_lanes(squares, lane) / f32(p.width) + p.eps);
    for (var i = lane; i < p.width; i += 64u) {
        var v = (x[row + i] - mean) * inverse * weight[i];
        if (HAS_BIAS) { v += bias[i]; }
        if (STORE == ADD) { v += out[row + i]; }
        out[row + i] = v;
    }
    encode(row, p.width, lane);
}
