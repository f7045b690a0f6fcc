// Products of rows with the experts that they chose: 8 lanes an output, as in linear_vector.wgsl.

// [row][choice] of (expert, bits of its weight)
@group(0) @binding(7) var<storage, read> chosen: array<vec2<u32>>;

var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let strip = lane % STRIPS;
    let output = group.x * 8u + lane / STRIPS;
    let choice = group.z * TOP_K + group.y;
    // A row of the matrix, of which this piece may not have all.
    let row = chosen[choice].x * EXPERT_ROWS + output;
    let is_here = output < EXPERT_ROWS && row >= p.first_output && row - p.first_output < p.n_outputs;
    let x0 = select(group.z, choice, X_BY_CHOICE) * p.x_stride;
    var sum = 0.0;
    if (is_here) {
        let local_row = row - p.first_output;
        for (var segment = strip; segment < p.segments; segment += STRIPS) {
            let s = scales_of(local_row, segment);
            for (var q = 0u; q < 8u; q++) {
                sum = multiply_add(quad(local_row, segment, q, s), x[x0 + segment * 8u + q], sum);
            }
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    if (strip == 0u && is_here) {
        var total = 0.0;
        for (var s = 0u; s < STRIPS; s++) { total += sums[lane + s]; }
        store_at(choice, output, total);
    }
}
