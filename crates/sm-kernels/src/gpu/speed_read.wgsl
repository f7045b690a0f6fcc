// Reads a buffer, neighbouring lanes from neighbouring places, and leaves what the reads cannot be left out for.

@group(0) @binding(0) var<storage, read> data: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

struct Params { n_vectors: u32, n_lanes: u32 }
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * 64u + lane;
    var all = vec4<u32>(0u);
    for (var i = first; i < p.n_vectors; i += p.n_lanes) { all ^= data[i]; }
    out[first] = all.x ^ all.y ^ all.z ^ all.w;
}
