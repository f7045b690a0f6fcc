// Products of four bytes in 8 chains of 4, which hide each other's latency. What is multiplied changes, or it would be done once.

@group(0) @binding(0) var<storage, read_write> out: array<i32>;

struct Params { n_rounds: u32 }
var<immediate> p: Params;

fn step(v: vec4<i32>, factor: u32) -> vec4<i32> {
    let codes = bitcast<vec4<u32>>(v);
    return v + vec4<i32>(
        dot4I8Packed(codes.x, factor),
        dot4I8Packed(codes.y, factor),
        dot4I8Packed(codes.z, factor),
        dot4I8Packed(codes.w, factor),
    );
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let seed = vec4<i32>(i32(lane), 1, 2, 3);
    let factor = 0x01020304u + lane;
    var a = seed;
    var b = seed + 1;
    var c = seed + 2;
    var d = seed + 3;
    var e = seed + 4;
    var f = seed + 5;
    var g = seed + 6;
    var h = seed + 7;
    for (var round = 0u; round < p.n_rounds; round++) {
        a = step(a, factor);
        b = step(b, factor);
        c = step(c, factor);
        d = step(d, factor);
        e = step(e, factor);
        f = step(f, factor);
        g = step(g, factor);
        h = step(h, factor);
    }
    let all = a ^ b ^ c ^ d ^ e ^ f ^ g ^ h;
    out[group.x * 64u + lane] = all.x ^ all.y ^ all.z ^ all.w;
}
