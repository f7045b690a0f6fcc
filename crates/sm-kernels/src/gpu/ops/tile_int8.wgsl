// A tile of weights and rows in blocks of int8.

// [quad][output] and [quad][row] of four codes
var<workgroup> weights: array<u32, 256>;
var<workgroup> rows: array<u32, 256>;
// (d, d, m, m), and a block's scale and sums
var<workgroup> weight_scales: array<vec4<f32>, 32>;
var<workgroup> row_scales: array<vec4<u32>, 32>;

// Half of the lanes load weights, the other half rows.
fn load(first_output: u32, first_row: u32, segment: u32, lane: u32) {
    let line = lane % 32u;
    if (lane < 32u) {
        let output = min(first_output + line, p.n_outputs - 1u);
        let s = scales_of(output, segment);
        weight_scales[line] = vec4<f32>(s.d, s.m);
        let low = codes_of(output, segment, 0u);
        let high = codes_of(output, segment, 1u);
        for (var q = 0u; q < 4u; q++) {
            weights[q * 32u + line] = low[q];
            weights[q * 32u + 128u + line] = high[q];
        }
    } else {
        let block = min(first_row + line, p.n_rows - 1u) * p.x_stride + segment * 3u;
        let low = x[block];
        let high = x[block + 1u];
        row_scales[line] = x[block + 2u];
        for (var q = 0u; q < 4u; q++) {
            rows[q * 32u + line] = low[q];
            rows[q * 32u + 128u + line] = high[q];
        }
    }
}

fn dots(sum: vec4<i32>, w: vec4<u32>, row: u32) -> vec4<i32> {
    return sum + vec4<i32>(
        dot4I8Packed(w.x, row),
        dot4I8Packed(w.y, row),
        dot4I8Packed(w.z, row),
        dot4I8Packed(w.w, row),
    );
}

fn add_outputs(sum: vec4<f32>, low: vec4<i32>, high: vec4<i32>, row: u32, output: u32) -> vec4<f32> {
    let s = row_scales[row];
    return vec4<f32>(
        add_dots(sum.x, vec2<i32>(low.x, high.x), s, scales_at(output)),
        add_dots(sum.y, vec2<i32>(low.y, high.y), s, scales_at(output + 1u)),
        add_dots(sum.z, vec2<i32>(low.z, high.z), s, scales_at(output + 2u)),
        add_dots(sum.w, vec2<i32>(low.w, high.w), s, scales_at(output + 3u)),
    );
}

fn scales_at(output: u32) -> Scales {
    let s = weight_scales[output];
    return Scales(s.xy, s.zw);
}

// Adds what is loaded to the sums of a lane.
fn add_loaded(sum: Sums, row: u32, output: u32) -> Sums {
    var low0 = vec4<i32>(0);
    var low1 = vec4<i32>(0);
    var low2 = vec4<i32>(0);
    var low3 = vec4<i32>(0);
    var high0 = vec4<i32>(0);
    var high1 = vec4<i32>(0);
    var high2 = vec4<i32>(0);
    var high3 = vec4<i32>(0);
    for (var q = 0u; q < 4u; q++) {
        let a = q * 32u + output;
        let w = vec4<u32>(weights[a], weights[a + 1u], weights[a + 2u], weights[a + 3u]);
        let r = q * 32u + row;
        low0 = dots(low0, w, rows[r]);
        low1 = dots(low1, w, rows[r + 1u]);
        low2 = dots(low2, w, rows[r + 2u]);
        low3 = dots(low3, w, rows[r + 3u]);
        let b = a + 128u;
        let v = vec4<u32>(weights[b], weights[b + 1u], weights[b + 2u], weights[b + 3u]);
        high0 = dots(high0, v, rows[r + 128u]);
        high1 = dots(high1, v, rows[r + 129u]);
        high2 = dots(high2, v, rows[r + 130u]);
        high3 = dots(high3, v, rows[r + 131u]);
    }
    return Sums(
        add_outputs(sum.a, low0, high0, row, output),
        add_outputs(sum.b, low1, high1, row + 1u, output),
        add_outputs(sum.c, low2, high2, row + 2u, output),
        add_outputs(sum.d, low3, high3, row + 3u, output),
    );
}
