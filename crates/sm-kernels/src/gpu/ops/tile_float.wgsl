// A tile of weights and rows in single precision.

// [column][output] and [column][row]
var<workgroup> weights: array<f32, 1024>;
var<workgroup> rows: array<f32, 1024>;

fn load(first_output: u32, first_row: u32, segment: u32, lane: u32) {
    for (var i = lane; i < 256u; i += 64u) {
        let line = i / 8u;
        let q = i % 8u;
        let at = q * 128u + line;
        let output = min(first_output + line, p.n_outputs - 1u);
        let w = quad(output, segment, q, scales_of(output, segment));
        weights[at] = w.x;
        weights[at + 32u] = w.y;
        weights[at + 64u] = w.z;
        weights[at + 96u] = w.w;
        let row = min(first_row + line, p.n_rows - 1u);
        let v = x[row * p.x_stride + segment * 8u + q];
        rows[at] = v.x;
        rows[at + 32u] = v.y;
        rows[at + 64u] = v.z;
        rows[at + 96u] = v.w;
    }
}

// Adds what is loaded to the sums of a lane.
fn add_loaded(sums: Sums, row: u32, output: u32) -> Sums {
    var sum = sums;
    for (var k = 0u; k < 32u; k++) {
        let wk = k * 32u + output;
        let xk = k * 32u + row;
        let w = vec4<f32>(weights[wk], weights[wk + 1u], weights[wk + 2u], weights[wk + 3u]);
        sum.a = fma(w, vec4<f32>(rows[xk]), sum.a);
        sum.b = fma(w, vec4<f32>(rows[xk + 1u]), sum.b);
        sum.c = fma(w, vec4<f32>(rows[xk + 2u]), sum.c);
        sum.d = fma(w, vec4<f32>(rows[xk + 3u]), sum.d);
    }
    return sum;
}
