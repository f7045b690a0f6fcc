// Adds up what the chosen experts of a row gave, in the order of their choice.

// [row][choice][stride]
@group(0) @binding(0) var<storage, read> results: array<f32>;
@group(0) @binding(1) var<storage, read> chosen: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

struct Params { n_rows: u32, width: u32, stride: u32 }
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = lane; i < p.width; i += 64u) {
        var sum = 0.0;
        for (var k = 0u; k < TOP_K; k++) {
            let choice = group.y * TOP_K + k;
            sum = fma(bitcast<f32>(chosen[choice].y), results[choice * p.stride + i], sum);
        }
        let at = group.y * p.stride + i;
        if (STORE == ADD) { sum += out[at]; }
        out[at] = sum;
    }
}
