// Encodes values as blocks of int8, for products with quantized weights.
//
// A block is three vectors: 16 codes, 16 codes, and (scale, sums of the codes of each half in 16 bits, 0, 0). The rules are those of
// the CPU: cpu/activations/int8.rs.

// Encodes n values of `out`, of which the first begins a block, once all lanes have written theirs.
fn encode(first: u32, n: u32, lane: u32) {
    storageBarrier();
    for (var at = first + lane * 32u; at < first + n; at += 64u * 32u) { encode_block(at); }
}

fn encode_block(first: u32) {
    // As integers, magnitudes keep their order, and infinities and NaN come last.
    var largest = 0u;
    for (var i = 0u; i < 32u; i++) { largest = max(largest, bitcast<u32>(out[first + i]) & 0x7fffffffu); }
    let block = first / 32u * 3u;
    if (largest >= 0x7f800000u) {
        blocks[block] = vec4<u32>(0u);
        blocks[block + 1u] = vec4<u32>(0u);
        blocks[block + 2u] = vec4<u32>(0x7fc00000u, 0u, 0u, 0u);
        return;
    }
    // Below 2^-121 the quotient would overflow.
    var inverse = 0.0;
    if (largest >= 0x03000000u) { inverse = 127.0 / bitcast<f32>(largest); }
    var sums = vec2<i32>(0);
    for (var half = 0u; half < 2u; half++) {
        var words = vec4<u32>(0u);
        for (var word = 0u; word < 4u; word++) {
            let at = first + half * 16u + word * 4u;
            let values = vec4<f32>(out[at], out[at + 1u], out[at + 2u], out[at + 3u]) * inverse;
            // To the nearest, ties to even.
            let codes = clamp(vec4<i32>(round(values)), vec4<i32>(-127), vec4<i32>(127));
            words[word] = pack4xI8(codes);
            sums[half] += codes.x + codes.y + codes.z + codes.w;
        }
        blocks[block + half] = words;
    }
    let scale = bitcast<u32>(bitcast<f32>(largest) / 127.0);
    blocks[block + 2u] = vec4<u32>(scale, (bitcast<u32>(sums.x) & 0xffffu) | (bitcast<u32>(sums.y) << 16u), 0u, 0u);
}
