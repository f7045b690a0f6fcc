// The values of rows in blocks of int8, as encode.wgsl writes them, in fours.

@group(0) @binding(3) var<storage, read> x: array<vec4<u32>>;

fn row_quad(row: u32, segment: u32, q: u32) -> vec4<f32> {
    let block = row * p.x_stride + segment * 3u;
    let codes = x[block + q / 4u][q % 4u];
    return vec4<f32>(unpack4xI8(codes)) * bitcast<f32>(x[block + 2u].x);
}
