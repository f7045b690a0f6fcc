// What a product does with a sum. Its parameters are those of the kernel: a, b, c and d.

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
