// Keys and values in 8 bits: [page][head][position] of codes, four to a word, then a scale for each 32 dimensions.

// The scale of 32 dimensions, and its inverse. Below 2^-121 the inverse would overflow.
fn scale_of(block: u32) -> vec2<f32> {
    var largest = 0.0;
    for (var i = block * 32u; i < min(block * 32u + 32u, MAX_DIM); i++) { largest = max(largest, abs(head[i])); }
    return vec2<f32>(largest / 127.0, select(127.0 / largest, 0.0, largest < 3.8e-37));
}

fn codes_of(word: u32) -> u32 {
    let inverse = scale_of(word / 8u).y;
    let at = word * 4u;
    let four = vec4<f32>(head[at], head[at + 1u], head[at + 2u], head[at + 3u]);
    return pack4xI8(vec4<i32>(round(four * inverse)));
}

fn store_head(is_key: bool, slot: u32, lane: u32) {
    let dim = select(VALUE_DIM, KEY_DIM, is_key);
    let n_codes = (dim + 3u) / 4u;
    let n_words = select(VALUE_WORDS, KEY_WORDS, is_key);
    for (var i = lane; i < n_words; i += 64u) {
        var word = 0u;
        if (i < n_codes) {
            word = codes_of(i);
        } else {
            word = bitcast<u32>(scale_of(i - n_codes).x);
        }
        if (is_key) {
            keys[slot * KEY_WORDS + i] = word;
        } else {
            values[slot * VALUE_WORDS + i] = word;
        }
    }
}
