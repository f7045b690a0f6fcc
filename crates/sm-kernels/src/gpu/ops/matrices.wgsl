// Products by cooperative matrices of SIDE by SIDE: rows and weights in half precision, sums in single precision.
//
// A sum is one chain of such products for each strip, in the order of its segments. The strips are added in order.

// Powers of two: a half ends at 65504, and a row may have values up to sixteen times that.
const ROW_SCALE: f32 = 0.0625;
const SUM_SCALE: f32 = 16.0;

fn weight_quad(output: u32, segment: u32, q: u32) -> vec4<f16> {
    return vec4<f16>(quad(output, segment, q, scales_of(output, segment)));
}

fn scaled_quad(row: u32, segment: u32, q: u32) -> vec4<f16> {
    let values = row_quad(row, segment, q) * ROW_SCALE;
    // Rounding may be towards zero, by which none would become infinite.
    let is_beyond = abs(values) > vec4<f32>(65504.0);
    return vec4<f16>(select(values, values * 3e38, is_beyond));
}

// Puts four columns of a line of weights and of a line of rows into the tiles of a kernel.
fn load(at: u32, w: vec4<f16>, v: vec4<f16>) {
    weights[at] = w.x;
    weights[at + 1u] = w.y;
    weights[at + 2u] = w.z;
    weights[at + 3u] = w.w;
    rows[at] = v.x;
    rows[at + 1u] = v.y;
    rows[at + 2u] = v.z;
    rows[at + 3u] = v.w;
}
