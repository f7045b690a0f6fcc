// Rows in blocks of int8, as encode.wgsl writes them.

@group(0) @binding(3) var<storage, read> x: array<vec4<u32>>;

// Adds a segment: `dots` has the sums over codes of its halves. Only the scales round, in the same way in every kernel.
fn add_dots(sum: f32, dots: vec2<i32>, scale_and_sums: vec4<u32>, s: Scales) -> f32 {
    let packed = bitcast<i32>(scale_and_sums.y);
    let sums = vec2<i32>((packed << 16u) >> 16u, packed >> 16u);
    let values = dots * CODE_STEP - sums * CODE_OFFSET;
    var total = 0.0;
    if (GROUPS == 16u) {
        total = fma(s.d.y, f32(values.y), s.d.x * f32(values.x));
        if (HAS_MIN) { total = fma(-s.m.y, f32(sums.y), fma(-s.m.x, f32(sums.x), total)); }
    } else {
        total = s.d.x * f32(values.x + values.y);
        if (HAS_MIN) { total = fma(-s.m.x, f32(sums.x + sums.y), total); }
    }
    return fma(bitcast<f32>(scale_and_sums.x), total, sum);
}

fn dot(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

fn add_block(sum: f32, low: vec4<u32>, high: vec4<u32>, s: Scales, at: u32) -> f32 {
    return add_dots(sum, vec2<i32>(dot(low, x[at]), dot(high, x[at + 1u])), x[at + 2u], s);
}

// Adds a segment of ROWS rows, which begin at `at`, to their sums.
fn add_segment(sums: vec4<f32>, output: u32, segment: u32, at: vec4<u32>) -> vec4<f32> {
    var sum = sums;
    let s = scales_of(output, segment);
    let low = codes_of(output, segment, 0u);
    let high = codes_of(output, segment, 1u);
    let block = at + segment * 3u;
    sum.x = add_block(sum.x, low, high, s, block.x);
    if (ROWS == 4u) {
        sum.y = add_block(sum.y, low, high, s, block.y);
        sum.z = add_block(sum.z, low, high, s, block.z);
        sum.w = add_block(sum.w, low, high, s, block.w);
    }
    return sum;
}
