// What a product does with a sum before it is stored.

@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> factor: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

struct Params {
    n_rows: u32,
    segments: u32,
    // Outputs of this part of the matrix, and the first of them.
    n_outputs: u32,
    first_output: u32,
    // In vectors of four.
    x_stride: u32,
    out_stride: u32,
    a: f32,
    b: f32,
    c: f32,
    d: f32,
}
var<immediate> p: Params;

// One step of a strip's chain: four columns, in order.
fn multiply_add(w: vec4<f32>, v: vec4<f32>, sum: f32) -> f32 {
    return fma(w.w, v.w, fma(w.z, v.z, fma(w.y, v.y, fma(w.x, v.x, sum))));
}

// Some drivers overflow where tanh is 1 already.
fn safe_tanh(v: f32) -> f32 {
    return tanh(clamp(v, -15.0, 15.0));
}

// Abramowitz and Stegun 7.1.26; the absolute error is below 1.5e-7.
fn erf(v: f32) -> f32 {
    let t = 1.0 / fma(0.3275911, abs(v), 1.0);
    let poly = t * fma(t, fma(t, fma(t, fma(t, 1.061405429, -1.453152027), 1.421413741), -0.284496736), 0.254829592);
    return sign(v) * (1.0 - poly * exp(-v * v));
}

fn epilogue(v: f32) -> f32 {
    if (EPILOGUE == SILU) { return v / (1.0 + exp(-v)); }
    if (EPILOGUE == GELU_TANH) {
        return 0.5 * v * (1.0 + safe_tanh(0.7978845608 * fma(0.044715 * v * v, v, v)));
    }
    if (EPILOGUE == GELU_ERF) { return 0.5 * v * (1.0 + erf(v * 0.7071067812)); }
    if (EPILOGUE == XIELU) {
        let below = p.b * (exp(min(v, p.d)) - 1.0 - v);
        return fma(p.c, v, select(below, p.a * v * v, v > 0.0));
    }
    if (EPILOGUE == SOFT_CAP) { return p.a * safe_tanh(v / p.a); }
    if (EPILOGUE == SCALE) { return p.a * v; }
    return v;
}

fn store(row: u32, output: u32, sum: f32) {
    store_at(row, p.first_output + output, sum);
}

fn store_at(row: u32, column: u32, sum: f32) {
    let at = row * p.out_stride + column;
    var v = sum;
    if (HAS_BIAS) { v += bias[column]; }
    v = epilogue(v);
    if (STORE == ADD) { v += out[at]; }
    if (STORE == MULTIPLY) { v *= factor[at]; }
    out[at] = v;
}
