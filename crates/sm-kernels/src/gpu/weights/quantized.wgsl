// Quantized weights: planes of codes, and scales. `form.rs` has the layout.

@group(0) @binding(0) var<storage, read> low: array<u32>;
@group(0) @binding(1) var<storage, read> high: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;

// The scales and minima of columns 0..16 and 16..32 of a segment.
struct Scales { d: vec2<f32>, m: vec2<f32> }

fn signed_byte(word: u32, byte: u32) -> f32 {
    return f32(extractBits(bitcast<i32>(word), byte * 8u, 8u));
}

fn scales_of(row: u32, segment: u32) -> Scales {
    var s = Scales(vec2<f32>(0.0), vec2<f32>(0.0));
    if (SCALES == HALF && !HAS_MIN) {
        let pair = unpack2x16float(scales[row * ((p.segments + 1u) / 2u) + segment / 2u]);
        s.d = vec2<f32>(select(pair.x, pair.y, (segment & 1u) == 1u));
    }
    if (SCALES == HALF && HAS_MIN) {
        let pair = unpack2x16float(scales[row * p.segments + segment]);
        s.d = vec2<f32>(pair.x);
        s.m = vec2<f32>(pair.y);
    }
    if (SCALES == SINGLE) {
        s.d = vec2<f32>(bitcast<f32>(scales[row * p.segments + segment]));
    }
    if (SCALES == SUPER) {
        // d, d_min if there is one, scales of GROUPS bytes, minima of GROUPS bytes.
        let at = (row * (p.segments / 8u) + segment / 8u) * SUPER_WORDS;
        let groups = GROUPS / 8u;
        let first = (segment % 8u) * groups;
        let last = first + groups - 1u;
        let codes = at + select(1u, 2u, HAS_MIN);
        let d = bitcast<f32>(scales[at]);
        s.d = d * vec2<f32>(
            signed_byte(scales[codes + first / 4u], first % 4u),
            signed_byte(scales[codes + last / 4u], last % 4u),
        );
        if (HAS_MIN) {
            let mins = codes + GROUPS / 4u;
            let d_min = bitcast<f32>(scales[at + 1u]);
            s.m = d_min * vec2<f32>(
                signed_byte(scales[mins + first / 4u], first % 4u),
                signed_byte(scales[mins + last / 4u], last % 4u),
            );
        }
    }
    return s;
}

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
