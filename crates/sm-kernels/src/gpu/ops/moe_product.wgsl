// Products of rows with the experts that they chose: 8 lanes an output, as in linear_vector.wgsl.

// [row][choice] of (expert, bits of its weight)
@group(0) @binding(6) var<storage, read> chosen: array<vec2<u32>>;
// As wide as the output.
@group(0) @binding(7) var<storage, read> gates: array<f32>;

fn run(group: vec3<u32>, lane: u32) {
    let strip = lane % STRIPS;
    let output = group.x * 8u + lane / STRIPS;
    let choice = group.z * TOP_K + group.y;
    // A row of the matrix, of which this piece may not have all.
    let row = chosen[choice].x * EXPERT_ROWS + output;
    let is_here = output < EXPERT_ROWS && row >= p.first_output && row - p.first_output < p.n_outputs;
    let x0 = select(group.z, choice, X_BY_CHOICE) * p.x_stride;
    var sum = vec4<f32>(0.0);
    if (is_here) {
        let local_row = row - p.first_output;
        for (var segment = strip; segment < p.segments; segment += STRIPS) {
            sum = add_segment(sum, local_row, segment, vec4<u32>(x0));
        }
    }
    let total = sum_of_8(sum, lane);
    if (strip == 0u && is_here) {
        var v = total.x;
        if (IS_GATED) { v *= gates[choice * p.out_stride + output]; }
        store_at(choice, output, v);
    }
}
