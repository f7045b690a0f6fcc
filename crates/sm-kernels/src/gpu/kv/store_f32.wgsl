// Keys and values in single precision: [page][head][position][dim].

fn store_head(is_key: bool, slot: u32, lane: u32) {
    if (is_key) {
        for (var i = lane; i < KEY_WORDS; i += 64u) { keys[slot * KEY_WORDS + i] = bitcast<u32>(head[i]); }
    } else {
        for (var i = lane; i < VALUE_WORDS; i += 64u) { values[slot * VALUE_WORDS + i] = bitcast<u32>(head[i]); }
    }
}
