// Codes of 2 bits.

@group(0) @binding(0) var<storage, read> low: array<u32>;

fn low_codes(at: u32, half: u32) -> vec4<u32> {
    return (vec4<u32>(low[at * 2u + half]) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(0x03030303u);
}
