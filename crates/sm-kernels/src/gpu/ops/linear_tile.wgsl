// A product for many rows: 32 rows by 32 outputs a workgroup, 4 by 4 a lane.
//
// Walks strip by strip, with one running sum and one total, so that an output has the sum that linear_vector.wgsl gives it.

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

fn store_row(row: u32, output: u32, total: vec4<f32>) {
    if (row < p.n_rows) {
        if (output < p.n_outputs) { store(row, output, total.x); }
        if (output + 1u < p.n_outputs) { store(row, output + 1u, total.y); }
        if (output + 2u < p.n_outputs) { store(row, output + 2u, total.z); }
        if (output + 3u < p.n_outputs) { store(row, output + 3u, total.w); }
    }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_output = group.x * 32u;
    let first_row = group.y * 32u;
    let output = (lane % 8u) * 4u;
    let row = (lane / 8u) * 4u;
    var total0 = vec4<f32>(0.0);
    var total1 = vec4<f32>(0.0);
    var total2 = vec4<f32>(0.0);
    var total3 = vec4<f32>(0.0);
    for (var strip = 0u; strip < STRIPS; strip++) {
        var sum0 = vec4<f32>(0.0);
        var sum1 = vec4<f32>(0.0);
        var sum2 = vec4<f32>(0.0);
        var sum3 = vec4<f32>(0.0);
        for (var segment = strip; segment < p.segments; segment += STRIPS) {
            load(first_output, first_row, segment, lane);
            workgroupBarrier();
            for (var k = 0u; k < 32u; k++) {
                let wk = k * 32u + output;
                let xk = k * 32u + row;
                let w = vec4<f32>(weights[wk], weights[wk + 1u], weights[wk + 2u], weights[wk + 3u]);
                sum0 = fma(w, vec4<f32>(rows[xk]), sum0);
                sum1 = fma(w, vec4<f32>(rows[xk + 1u]), sum1);
                sum2 = fma(w, vec4<f32>(rows[xk + 2u]), sum2);
                sum3 = fma(w, vec4<f32>(rows[xk + 3u]), sum3);
            }
            workgroupBarrier();
        }
        total0 += sum0;
        total1 += sum1;
        total2 += sum2;
        total3 += sum3;
    }
    store_row(first_row + row, first_output + output, total0);
    store_row(first_row + row + 1u, first_output + output, total1);
    store_row(first_row + row + 2u, first_output + output, total2);
    store_row(first_row + row + 3u, first_output + output, total3);
}
