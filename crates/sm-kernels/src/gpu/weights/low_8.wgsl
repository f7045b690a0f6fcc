// Codes of 8 bits: less 128, they are signed.

@group(0) @binding(0) var<storage, read> low: array<vec4<u32>>;

fn low_codes(at: u32, half: u32) -> vec4<u32> {
    return low[at * 2u + half] ^ vec4<u32>(0x80808080u);
}
