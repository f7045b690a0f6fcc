// Keys and values in 8 bits: [page][head][position] of codes, four to a word, then a scale for each 32 dimensions.

fn dot_key(slot: u32) -> f32 {
    let first = slot * KEY_WORDS;
    let n_codes = (KEY_DIM + 3u) / 4u;
    var sum = 0.0;
    for (var i = 0u; i < n_codes; i++) {
        let codes = vec4<f32>(unpack4xI8(keys[first + i]));
        let key = codes * bitcast<f32>(keys[first + n_codes + i / 8u]);
        sum = fma(key.x, query[4u * i], sum);
        sum = fma(key.y, query[4u * i + 1u], sum);
        sum = fma(key.z, query[4u * i + 2u], sum);
        sum = fma(key.w, query[4u * i + 3u], sum);
    }
    return sum;
}

fn value_pair(slot: u32, pair: u32) -> vec2<f32> {
    let first = slot * VALUE_WORDS;
    let codes = vec4<f32>(unpack4xI8(values[first + pair / 2u]));
    let scale = bitcast<f32>(values[first + (VALUE_DIM + 3u) / 4u + pair / 16u]);
    return select(codes.xy, codes.zw, pair % 2u == 1u) * scale;
}
