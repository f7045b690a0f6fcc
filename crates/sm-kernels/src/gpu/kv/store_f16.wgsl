// Keys and values in half precision: [page][head][position][dim], two to a word.

fn store_head(is_key: bool, slot: u32, lane: u32) {
    if (is_key) {
        for (var i = lane; i < KEY_WORDS; i += 64u) {
            keys[slot * KEY_WORDS + i] = pack2x16float(vec2<f32>(head[2u * i], head[2u * i + 1u]));
        }
    } else {
        for (var i = lane; i < VALUE_WORDS; i += 64u) {
            values[slot * VALUE_WORDS + i] = pack2x16float(vec2<f32>(head[2u * i], head[2u * i + 1u]));
        }
    }
}
