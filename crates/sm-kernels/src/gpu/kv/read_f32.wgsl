// Keys and values in single precision: [page][head][position][dim], padded to an even number of dimensions.

fn dot_key(slot: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < KEY_WORDS; i++) {
        sum = fma(bitcast<f32>(keys[slot * KEY_WORDS + i]), query[i], sum);
    }
    return sum;
}

fn value_pair(slot: u32, pair: u32) -> vec2<f32> {
    let at = slot * VALUE_WORDS + 2u * pair;
    return bitcast<vec2<f32>>(vec2<u32>(values[at], values[at + 1u]));
}
