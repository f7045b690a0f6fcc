// Fused multiplications and additions in 8 chains, which hide each other's latency.

@group(0) @binding(0) var<storage, read_write> out: array<f32>;

struct Params { n_rounds: u32 }
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let seed = vec4<f32>(f32(lane), 1.0, 2.0, 3.0);
    let factor = vec4<f32>(0.5);
    var a = seed;
    var b = seed + 1.0;
    var c = seed + 2.0;
    var d = seed + 3.0;
    var e = seed + 4.0;
    var f = seed + 5.0;
    var g = seed + 6.0;
    var h = seed + 7.0;
    for (var round = 0u; round < p.n_rounds; round++) {
        a = fma(a, factor, seed);
        b = fma(b, factor, seed);
        c = fma(c, factor, seed);
        d = fma(d, factor, seed);
        e = fma(e, factor, seed);
        f = fma(f, factor, seed);
        g = fma(g, factor, seed);
        h = fma(h, factor, seed);
    }
    let all = a + b + c + d + e + f + g + h;
    out[group.x * 64u + lane] = all.x + all.y + all.z + all.w;
}
