// Encodes rows: COLUMNS values a workgroup.

@group(0) @binding(0) var<storage, read> out: array<f32>;

struct Params {
    n_rows: u32,
    width: u32,
    stride: u32,
    // Workgroups for a row.
    n_groups: u32,
    // Rows for each row of the step.
    factor: u32,
}
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x % p.n_groups * COLUMNS;
    let row = group.y * p.factor + group.x / p.n_groups;
    encode(row * p.stride + first, min(COLUMNS, p.width - first), lane);
}
