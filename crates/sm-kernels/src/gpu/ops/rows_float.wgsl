// Rows in single precision.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;

// One step of a strip's chain: four columns, in order.
fn multiply_add(w: vec4<f32>, v: vec4<f32>, sum: f32) -> f32 {
    return fma(w.w, v.w, fma(w.z, v.z, fma(w.y, v.y, fma(w.x, v.x, sum))));
}

// Adds a segment of ROWS rows, which begin at `at`, to their sums.
fn add_segment(sums: vec4<f32>, output: u32, segment: u32, at: vec4<u32>) -> vec4<f32> {
    var sum = sums;
    let s = scales_of(output, segment);
    for (var q = 0u; q < 8u; q++) {
        let w = quad(output, segment, q, s);
        let column = at + segment * 8u + q;
        sum.x = multiply_add(w, x[column.x], sum.x);
        if (ROWS == 4u) {
            sum.y = multiply_add(w, x[column.y], sum.y);
            sum.z = multiply_add(w, x[column.z], sum.z);
            sum.w = multiply_add(w, x[column.w], sum.w);
        }
    }
    return sum;
}
