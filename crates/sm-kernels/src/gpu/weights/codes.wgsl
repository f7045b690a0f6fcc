// The codes of quantized weights, signed bytes in fours, as integer dot products take them.

@group(0) @binding(1) var<storage, read> high: array<u32>;

// Quads 0 to 3 of a segment, or with a half of 1, quads 4 to 7.
fn codes_of(row: u32, segment: u32, half: u32) -> vec4<u32> {
    let at = row * p.segments + segment;
    var codes = low_codes(at, half);
    if (HIGH_BITS == 1u) {
        let bits = vec4<u32>(high[at]) >> (vec4<u32>(0u, 1u, 2u, 3u) + half * 4u);
        codes |= (bits & vec4<u32>(0x01010101u)) << vec4<u32>(LOW_BITS & 7u);
    }
    if (HIGH_BITS == 2u) {
        let bits = vec4<u32>(high[at * 2u + half]) >> vec4<u32>(0u, 2u, 4u, 6u);
        codes |= (bits & vec4<u32>(0x03030303u)) << vec4<u32>(LOW_BITS & 7u);
    }
    if (IS_TABLE) {
        codes = vec4<u32>(in_table(codes.x), in_table(codes.y), in_table(codes.z), in_table(codes.w));
    }
    return codes;
}

fn in_table(codes: u32) -> u32 {
    let at = unpack4xU8(codes);
    return pack4xI8(vec4<i32>(TABLE_CODES[at.x], TABLE_CODES[at.y], TABLE_CODES[at.z], TABLE_CODES[at.w]));
}
