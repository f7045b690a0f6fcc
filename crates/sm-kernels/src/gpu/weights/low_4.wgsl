// Codes of 4 bits.

@group(0) @binding(0) var<storage, read> low: array<vec4<u32>>;

fn low_codes(at: u32, half: u32) -> vec4<u32> {
    let words = low[at];
    let pair = select(words.xy, words.zw, half == 1u);
    return (pair.xxyy >> vec4<u32>(0u, 4u, 0u, 4u)) & vec4<u32>(0x0f0f0f0fu);
}
