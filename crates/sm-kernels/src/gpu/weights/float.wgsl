// Weights of single precision, or two halves to a word. Rows are padded with zeros to whole segments.

@group(0) @binding(0) var<storage, read> low: array<u32>;
@group(0) @binding(1) var<storage, read> high: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<u32>;

struct Scales { none: u32 }

fn scales_of(row: u32, segment: u32) -> Scales {
    return Scales(0u);
}

// Columns 4q..4q + 4 of a segment.
fn quad(row: u32, segment: u32, q: u32, s: Scales) -> vec4<f32> {
    let at = row * p.segments + segment;
    if (FLOAT == F32) {
        let word = at * 32u + q * 4u;
        return bitcast<vec4<f32>>(vec4<u32>(low[word], low[word + 1u], low[word + 2u], low[word + 3u]));
    }
    let first = low[at * 16u + q * 2u];
    let second = low[at * 16u + q * 2u + 1u];
    if (FLOAT == F16) {
        return vec4<f32>(unpack2x16float(first), unpack2x16float(second));
    }
    return bitcast<vec4<f32>>(vec4<u32>(first << 16u, first & 0xffff0000u, second << 16u, second & 0xffff0000u));
}
