// A product for few rows: a lane has a strip of an output's columns, 8 lanes an output, 8 outputs a workgroup.
//
// Strip s has the segments s, s + 8, s + 16, …: lanes that are neighbours read segments that are neighbours.

fn run(group: vec3<u32>, lane: u32) {
    let strip = lane % STRIPS;
    let output = group.x * 8u + lane / STRIPS;
    let row = min(output, p.n_outputs - 1u);
    let first = group.y * ROWS;
    let last = p.n_rows - 1u;
    let x0 = first * p.x_stride;
    let x1 = min(first + 1u, last) * p.x_stride;
    let x2 = min(first + 2u, last) * p.x_stride;
    let x3 = min(first + 3u, last) * p.x_stride;
    var sum = vec4<f32>(0.0);
    for (var segment = strip; segment < p.segments; segment += STRIPS) {
        let s = scales_of(row, segment);
        for (var q = 0u; q < 8u; q++) {
            let w = quad(row, segment, q, s);
            let at = segment * 8u + q;
            sum.x = multiply_add(w, x[x0 + at], sum.x);
            if (ROWS == 4u) {
                sum.y = multiply_add(w, x[x1 + at], sum.y);
                sum.z = multiply_add(w, x[x2 + at], sum.z);
                sum.w = multiply_add(w, x[x3 + at], sum.w);
            }
        }
    }
    let total = sum_of_8(sum, lane);
    if (strip == 0u && output < p.n_outputs) {
        store(first, output, total.x);
        if (ROWS == 4u) {
            if (first + 1u <= last) { store(first + 1u, output, total.y); }
            if (first + 2u <= last) { store(first + 2u, output, total.z); }
            if (first + 3u <= last) { store(first + 3u, output, total.w); }
        }
    }
}
