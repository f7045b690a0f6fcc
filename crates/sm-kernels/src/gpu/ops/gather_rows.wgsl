// Keeps the rows with wanted outputs.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> output_rows: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

struct Params { n_rows: u32, stride: u32 }
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let source = output_rows[group.y] * p.stride;
    let target_at = group.y * p.stride;
    for (var i = lane; i < p.stride; i += 64u) {
        out[target_at + i] = x[source + i];
    }
}
