// A product for many rows: TILE rows by TILE outputs a workgroup, two by two matrices a subgroup.

var<workgroup> weights: array<f16, TILE * LINE>;
var<workgroup> rows: array<f16, TILE * LINE>;
// [row][output]
var<workgroup> sums: array<f32, TILE * TILE>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let first_output = group.x * TILE;
    let first_row = group.y * TILE;
    // Where subgroups are smaller than they may be, some have no square: they go along, and write no sums.
    let squares = TILE / (2u * SIDE);
    let has_square = subgroup < squares * squares;
    let square = min(subgroup, squares * squares - 1u);
    let output = square % squares * 2u * SIDE;
    let row = square / squares * 2u * SIDE;
    var total_a: Sums;
    var total_b: Sums;
    var total_c: Sums;
    var total_d: Sums;
    for (var strip = 0u; strip < STRIPS; strip++) {
        var a: Sums;
        var b: Sums;
        var c: Sums;
        var d: Sums;
        for (var segment = strip; segment < p.segments; segment += STRIPS) {
            for (var i = lane; i < TILE * 8u; i += LANES) {
                let line = i / 8u;
                let q = i % 8u;
                let w = weight_quad(min(first_output + line, p.n_outputs - 1u), segment, q);
                let v = scaled_quad(min(first_row + line, p.n_rows - 1u), segment, q);
                load(line * LINE + q * 4u, w, v);
            }
            workgroupBarrier();
            for (var k = 0u; k < 32u; k += SIDE) {
                let r = row * LINE + k;
                let s = r + SIDE * LINE;
                let w = output * LINE + k;
                let v = w + SIDE * LINE;
                let upper = coopLoadT<Rows>(&rows[r], LINE);
                let lower = coopLoadT<Rows>(&rows[s], LINE);
                let left = coopLoad<Weights>(&weights[w], LINE);
                let right = coopLoad<Weights>(&weights[v], LINE);
                a = coopMultiplyAdd(upper, left, a);
                b = coopMultiplyAdd(upper, right, b);
                c = coopMultiplyAdd(lower, left, c);
                d = coopMultiplyAdd(lower, right, d);
            }
            workgroupBarrier();
        }
        total_a += a;
        total_b += b;
        total_c += c;
        total_d += d;
    }
    let upper = row * TILE + output;
    let lower = upper + SIDE * TILE;
    if (has_square) {
        coopStoreT(total_a, &sums[upper], TILE);
        coopStoreT(total_b, &sums[upper + SIDE], TILE);
        coopStoreT(total_c, &sums[lower], TILE);
        coopStoreT(total_d, &sums[lower + SIDE], TILE);
    }
    workgroupBarrier();
    for (var i = lane; i < TILE * TILE; i += LANES) {
        let row = first_row + i / TILE;
        let output = first_output + i % TILE;
        if (row < p.n_rows && output < p.n_outputs) { store(row, output, sums[i] * SUM_SCALE); }
    }
}
