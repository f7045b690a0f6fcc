// Encodes rows: COLUMNS values a workgroup.

@group(0) @binding(0) var<storage, read> out: array<f32>;

struct Params {
    width: u32,
    stride: u32,
    // Rows for each row of the step.
    factor: u32,
}
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * COLUMNS;
    let row = group.z * p.factor + group.y;
    encode(row * p.stride + first, min(COLUMNS, p.width - first), lane);
}
