// Rows in single precision, in fours.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;

fn row_quad(row: u32, segment: u32, q: u32) -> vec4<f32> {
    return x[row * p.x_stride + segment * 8u + q];
}
