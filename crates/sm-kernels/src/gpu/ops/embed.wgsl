// Looks up the rows of tokens, or of positions, in a part of a table.

@group(0) @binding(3) var<storage, read> step_rows: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

struct Params {
    n_rows: u32,
    segments: u32,
    // Rows of this part of the table, and the first of them.
    n_table_rows: u32,
    first_table_row: u32,
    // In vectors of four.
    out_stride: u32,
    scale: f32,
}
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n = group.y;
    let info = step_rows[n];
    let row = select(info.x, info.z, BY_TOKEN);
    if (row >= p.first_table_row && row - p.first_table_row < p.n_table_rows) {
        for (var i = lane; i < p.segments * 8u; i += 64u) {
            let local_row = row - p.first_table_row;
            var v = quad(local_row, i / 8u, i % 8u, scales_of(local_row, i / 8u)) * p.scale;
            let at = n * p.out_stride + i;
            if (STORE == ADD) { v += out[at]; }
            out[at] = v;
        }
    }
}
