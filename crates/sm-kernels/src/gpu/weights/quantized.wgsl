// The values of quantized weights.

@group(0) @binding(0) var<storage, read> low: array<u32>;
@group(0) @binding(1) var<storage, read> high: array<u32>;

// Columns 4q..4q + 4 of a segment.
//
// d * code is exact, so that a value is rounded once, with or without a fused subtraction: every kernel sees the same.
fn quad(row: u32, segment: u32, q: u32, s: Scales) -> vec4<f32> {
    let at = row * p.segments + segment;
    var codes = 0u;
    if (LOW_BITS == 8u) { codes = low[at * 8u + q]; }
    if (LOW_BITS == 4u) { codes = (low[at * 4u + q / 2u] >> ((q & 1u) * 4u)) & 0x0f0f0f0fu; }
    if (LOW_BITS == 2u) { codes = (low[at * 2u + q / 4u] >> ((q & 3u) * 2u)) & 0x03030303u; }
    if (LOW_BITS == 1u) { codes = (low[at] >> q) & 0x01010101u; }
    if (HIGH_BITS == 1u) { codes |= ((high[at] >> q) & 0x01010101u) << (LOW_BITS & 7u); }
    if (HIGH_BITS == 2u) {
        codes |= ((high[at * 2u + q / 4u] >> ((q & 3u) * 2u)) & 0x03030303u) << (LOW_BITS & 7u);
    }
    let bytes = unpack4xU8(codes);
    var values = vec4<f32>(bytes) * STEP - vec4<f32>(OFFSET);
    if (IS_TABLE) {
        values = vec4<f32>(TABLE[bytes.x], TABLE[bytes.y], TABLE[bytes.z], TABLE[bytes.w]);
    }
    let d = select(s.d.x, s.d.y, q >= 4u);
    if (HAS_MIN) {
        return d * values - vec4<f32>(select(s.m.x, s.m.y, q >= 4u));
    }
    return d * values;
}
