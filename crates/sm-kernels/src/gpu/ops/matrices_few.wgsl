// A product for few rows: SIDE rows by SIDE outputs a workgroup, a strip a subgroup.

var<workgroup> weights: array<f16, STRIPS * SIDE * LINE>;
var<workgroup> rows: array<f16, STRIPS * SIDE * LINE>;
// [strip][row][output]
var<workgroup> sums: array<f32, STRIPS * SIDE * SIDE>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_invocation_id) invocation: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let first_output = group.x * SIDE;
    let first_row = group.y * SIDE;
    // Where subgroups are smaller than they may be, some have no strip: they go along, and write nothing.
    let has_strip = subgroup < STRIPS;
    let strip = min(subgroup, STRIPS - 1u);
    let own = strip * SIDE * LINE;
    var sum: Sums;
    for (var first = 0u; first < p.segments; first += STRIPS) {
        let segment = first + strip;
        for (var i = invocation; has_strip && i < SIDE * 8u; i += size) {
            let line = i / 8u;
            let q = i % 8u;
            var w = vec4<f16>();
            var v = vec4<f16>();
            if (segment < p.segments) {
                w = weight_quad(min(first_output + line, p.n_outputs - 1u), segment, q);
                if (first_row + line < p.n_rows) { v = scaled_quad(first_row + line, segment, q); }
            }
            load(own + line * LINE + q * 4u, w, v);
        }
        workgroupBarrier();
        for (var k = 0u; k < 32u; k += SIDE) {
            let at = own + k;
            let row = coopLoadT<Rows>(&rows[at], LINE);
            let weight = coopLoad<Weights>(&weights[at], LINE);
            sum = coopMultiplyAdd(row, weight, sum);
        }
        workgroupBarrier();
    }
    let to = strip * SIDE * SIDE;
    if (has_strip) { coopStoreT(sum, &sums[to], SIDE); }
    workgroupBarrier();
    for (var i = lane; i < SIDE * SIDE; i += LANES) {
        let row = first_row + i / SIDE;
        let output = first_output + i % SIDE;
        var total = 0.0;
        for (var s = 0u; s < STRIPS; s++) { total += sums[s * SIDE * SIDE + i]; }
        if (row < p.n_rows && output < p.n_outputs) { store(row, output, total * SUM_SCALE); }
    }
}
