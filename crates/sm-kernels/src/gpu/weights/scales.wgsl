// Scales of quantized weights. `form.rs` has the layout.

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
