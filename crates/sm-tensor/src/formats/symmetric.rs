//! Quantizer of super-blocks with a signed scale per 16 values: Q3_K and Q6_K.
//!
//! ```text
//! x ≈ scale * code,    scale = d * scale_code,    -half <= code < half
//!
//! minimise  sum w (x - scale * code)²,    w = x² + floor * mean(x²)    (or as importance.rs says)
//! ```
//!
//! As in [`affine`](super::affine): several grids are tried, each gets its least-squares scale, and the
//! codes of the scales are refined by the error that rounding them causes.
//!
//! Source: `make_qx_quants` of ggml's `ggml-quants.c`.

use super::rounding::{LANES, improves, limit, nearest, reciprocal, signed_max, total};
use half::f16;

/// Grids tried to each side of the one that just spans the values, 0.1 steps apart, where a format has no other number.
pub(super) const N_GRIDS: u8 = 9;

/// Parameters of the search, per format.
pub(super) struct SymmetricSpec {
    /// Codes of values run from `-half` to `half - 1`.
    pub(super) half: f32,
    /// Codes of scales run from `-scale_half` to `scale_half - 1`.
    pub(super) scale_half: f32,
    /// Multiple of the sub-block's mean square added to the weight x² of a value.
    pub(super) weight_floor: f32,
    /// Grids tried to each side of the one that just spans the values, 0.1 steps apart.
    pub(super) n_grids: u8,
}

/// A quantized super-block, not yet packed.
pub(super) struct SymmetricBlock {
    /// Unit of the scale codes.
    pub(super) d: f16,
    /// Scale codes.
    pub(super) scales: [i8; 16],
    /// Codes of the values plus `half`.
    pub(super) codes: [u8; 256],
}

/// Quantizes a super-block.
pub(super) fn quantize(values: &[f32; 256], weights: &[f32; 256], spec: &SymmetricSpec) -> SymmetricBlock {
    let subs = values.as_chunks::<16>().0;
    let weights = weights.as_chunks::<16>().0;
    let mut scales = [0.0_f32; 16];
    for (scale, (sub, weights)) in scales.iter_mut().zip(subs.iter().zip(weights)) {
        *scale = search(sub, weights, spec.half, spec.n_grids);
    }
    let d = f16::from_f32(signed_max(&scales) / -spec.scale_half);
    let inverse = reciprocal(d.to_f32());
    let mut scales =
        scales.map(|scale| nearest(limit(scale * inverse, -spec.scale_half, spec.scale_half - 1.0)));

    let mut codes = [0; 256];
    for (idx, (sub, codes)) in subs.iter().zip(codes.as_chunks_mut::<16>().0).enumerate() {
        scales[idx] = refine(sub, &weights[idx], spec, d.to_f32(), scales[idx]);
        let inverse = reciprocal(d.to_f32() * scales[idx]);
        for (code, x) in codes.iter_mut().zip(sub) {
            let signed = nearest(limit(x * inverse, -spec.half, spec.half - 1.0));
            *code = (signed + spec.half) as i32 as u8;
        }
    }
    SymmetricBlock { d, scales: scales.map(|scale| scale as i32 as i8), codes }
}

/// The weights of all values' errors without an importance matrix.
pub(super) fn plain_weights(values: &[f32; 256], spec: &SymmetricSpec) -> [f32; 256] {
    let mut weights = [0.0; 256];
    for (weights, sub) in weights.as_chunks_mut::<16>().0.iter_mut().zip(values.as_chunks().0) {
        *weights = error_weights(sub, spec.weight_floor);
    }
    weights
}

/// The best scale code among `rounded` and its neighbours.
fn refine(sub: &[f32; 16], weights: &[f32; 16], spec: &SymmetricSpec, d: f32, rounded: f32) -> f32 {
    let mut best = rounded;
    let mut best_error = f32::INFINITY;
    for step in [0.0, -1.0, 1.0] {
        let scale_code = limit(rounded + step, -spec.scale_half, spec.scale_half - 1.0);
        let error = error(sub, weights, d * scale_code, spec.half);
        if error < best_error {
            best = scale_code;
            best_error = error;
        }
    }
    best
}

/// The weighted square error of a scale.
#[inline(always)]
fn error(values: &[f32; 16], weights: &[f32; 16], scale: f32, half: f32) -> f32 {
    let inverse = reciprocal(scale);
    let mut sum = [0.0; LANES];
    for (x, w) in values.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let residue = x[lane] - scale * nearest(limit(x[lane] * inverse, -half, half - 1.0));
            sum[lane] += w[lane] * residue * residue;
        }
    }
    total(sum)
}

/// The weight of each value: its square plus `floor` times the mean square.
#[inline(always)]
pub(super) fn error_weights<const N: usize>(values: &[f32; N], floor: f32) -> [f32; N] {
    let squares = values.map(|x| x * x);
    let floor = floor * squares.iter().sum::<f32>() / N as f32;
    squares.map(|square| square + floor)
}

/// The best scale of values that share one, for codes from `-half` to `half - 1`: of the grids up to `n_grids` steps of 0.1
/// to each side of the one that just spans the values.
pub(super) fn search<const N: usize>(values: &[f32; N], weights: &[f32; N], half: f32, n_grids: u8) -> f32 {
    let unit = reciprocal(signed_max(values));
    let mut best = 0.0;
    let mut best_gain = 0.0;
    for grid in 0..=n_grids {
        for steps in [0.1, -0.1].map(|step| half + step * f32::from(grid)) {
            let (scale, gain) = fit_grid(values, weights, -steps * unit, half);
            if improves(gain, best_gain) {
                best = scale;
                best_gain = gain;
            }
        }
    }
    best
}

/// The least-squares scale for the codes of one grid, and the part of the weighted square sum it explains.
#[inline(always)]
fn fit_grid<const N: usize>(values: &[f32; N], weights: &[f32; N], inverse: f32, half: f32) -> (f32, f32) {
    let mut wxl = [0.0; LANES];
    let mut wll = [0.0; LANES];
    for (x, w) in values.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let code = nearest(limit(x[lane] * inverse, -half, half - 1.0));
            let weighted = w[lane] * code;
            wxl[lane] += weighted * x[lane];
            wll[lane] += weighted * code;
        }
    }
    let wxl = total(wxl);
    let scale = wxl * reciprocal(total(wll));
    (scale, scale * wxl)
}
