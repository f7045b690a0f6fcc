// Codes of one bit.

@group(0) @binding(0) var<storage, read> low: array<u32>;

fn low_codes(at: u32, half: u32) -> vec4<u32> {
    return (vec4<u32>(low[at]) >> (vec4<u32>(0u, 1u, 2u, 3u) + half * 4u)) & vec4<u32>(0x01010101u);
}
