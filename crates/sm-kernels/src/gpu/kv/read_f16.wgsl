// Keys and values in half precision: [page][head][position][dim], two to a word.

fn dot_key(slot: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < KEY_WORDS; i++) {
        let pair = unpack2x16float(keys[slot * KEY_WORDS + i]);
        sum = fma(pair.x, query[2u * i], sum);
        sum = fma(pair.y, query[2u * i + 1u], sum);
    }
    return sum;
}

fn value_pair(slot: u32, pair: u32) -> vec2<f32> {
    return unpack2x16float(values[slot * VALUE_WORDS + pair]);
}
