// Products of cooperative matrices in 8 chains, which hide each other's latency: one subgroup a workgroup.

@group(0) @binding(0) var<storage, read_write> out: array<f32>;

struct Params { n_rounds: u32 }
var<immediate> p: Params;

var<workgroup> ones: array<f16, SIDE * SIDE>;
var<workgroup> sums: array<f32, SIDE * SIDE>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < SIDE * SIDE; i += LANES) { ones[i] = 1h; }
    workgroupBarrier();
    let row = coopLoadT<Rows>(&ones[0], SIDE);
    let weight = coopLoad<Weights>(&ones[0], SIDE);
    var a: Sums;
    var b: Sums;
    var c: Sums;
    var d: Sums;
    var e: Sums;
    var f: Sums;
    var g: Sums;
    var h: Sums;
    for (var round = 0u; round < p.n_rounds; round++) {
        a = coopMultiplyAdd(row, weight, a);
        b = coopMultiplyAdd(row, weight, b);
        c = coopMultiplyAdd(row, weight, c);
        d = coopMultiplyAdd(row, weight, d);
        e = coopMultiplyAdd(row, weight, e);
        f = coopMultiplyAdd(row, weight, f);
        g = coopMultiplyAdd(row, weight, g);
        h = coopMultiplyAdd(row, weight, h);
    }
    let all = a + b + c + d + e + f + g + h;
    coopStoreT(all, &sums[0], SIDE);
    workgroupBarrier();
    if (lane == 0u) { out[group.x] = sums[0]; }
}
