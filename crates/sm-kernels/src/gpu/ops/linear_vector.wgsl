// A product for few rows: a lane has a strip of an output's columns, 8 lanes an output, 8 outputs a workgroup.
//
// Strip s has the segments s, s + 8, s + 16, …: lanes that are neighbours read segments that are neighbours.

fn run(group: vec3<u32>, lane: u32) {
    let strip = lane % STRIPS;
    let output = group.x * 8u + lane / STRIPS;
    let row = min(output, p.n_outputs - 1u);
    let first = group.y * ROWS;
    let last = p.n_rows - 1u;
    let rows = min(vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last)) * p.x_stride;
    var sum = vec4<f32>(0.0);
    for (var segment = strip; segment < p.segments; segment += STRIPS) {
        sum = add_segment(sum, row, segment, rows);
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
