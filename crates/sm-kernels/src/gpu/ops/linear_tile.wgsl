// A product for many rows: 32 rows by 32 outputs a workgroup, 4 by 4 a lane.
//
// Walks strip by strip, with one running sum and one total, so that an output has the sum that linear_vector.wgsl gives it.

// Four rows of four outputs.
struct Sums { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

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
    var total = Sums();
    for (var strip = 0u; strip < STRIPS; strip++) {
        var sum = Sums();
        for (var segment = strip; segment < p.segments; segment += STRIPS) {
            load(first_output, first_row, segment, lane);
            workgroupBarrier();
            sum = add_loaded(sum, row, output);
            workgroupBarrier();
        }
        total = Sums(total.a + sum.a, total.b + sum.b, total.c + sum.c, total.d + sum.d);
    }
    store_row(first_row + row, first_output + output, total.a);
    store_row(first_row + row + 1u, first_output + output, total.b);
    store_row(first_row + row + 2u, first_output + output, total.c);
    store_row(first_row + row + 3u, first_output + output, total.d);
}
