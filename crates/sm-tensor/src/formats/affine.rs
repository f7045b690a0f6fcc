//! Quantizer of super-blocks with a scale and a minimum per sub-block: Q2_K, Q4_K and Q5_K.
//!
//! ```text
//! x ≈ scale * code - min,    scale = d * scale_code,    min = d_min * min_code
//!
//! minimise  sum w (x - scale * code + min)²,    w = |x| + floor * rms(x)    (or as importance.rs says)
//! ```
//!
//! For each sub-block, rounding to a grid fixes the codes; given the codes, the best scale and minimum
//! solve a 2 × 2 weighted least-squares problem. Several grids are tried, some coarser and some finer
//! than the one that just spans the values, because clipping an outlier often pays.
//!
//! Scales and minima are then rounded to codes of `d` and `d_min`. Rounding can move a small scale by a
//! large fraction, so neighbouring scale codes are tried too, each with the minimum that suits it; ggml
//! keeps what rounding gives.
//!
//! Source: `make_qkx2_quants` of ggml's `ggml-quants.c`, grids and weights included. Sums have a fixed
//! number of independent accumulators, which lets them vectorise in a defined order.

use super::rounding::{LANES, improves, limit, min_max, nearest, reciprocal, total};
use half::f16;

/// Parameters of the search, per format.
pub(super) struct AffineSpec {
    /// The largest code of a value.
    pub(super) max_code: f32,
    /// The largest code of a scale or a minimum.
    pub(super) max_scale_code: f32,
    /// Multiple of the sub-block's root mean square added to the weight |x| of a value.
    pub(super) weight_floor: f32,
    /// The grids tried have `max_code + first_step + 0.1 * n` steps over the range of the values.
    pub(super) first_step: f32,
    /// Number of grids tried.
    pub(super) n_grids: u8,
}

/// A quantized super-block, not yet packed.
pub(super) struct AffineBlock {
    /// Unit of the scale codes.
    pub(super) d: f16,
    /// Unit of the minimum codes.
    pub(super) d_min: f16,
    /// Scale codes; formats with 8 sub-blocks use the first 8.
    pub(super) scales: [u8; 16],
    /// Minimum codes, likewise.
    pub(super) mins: [u8; 16],
    /// Codes of the values.
    pub(super) codes: [u8; 256],
}

/// Quantizes a super-block with sub-blocks of `N` values.
pub(super) fn quantize<const N: usize>(
    values: &[f32; 256],
    weights: &[f32; 256],
    spec: &AffineSpec,
) -> AffineBlock {
    let subs = values.as_chunks::<N>().0;
    let weights = weights.as_chunks::<N>().0;
    let mut scales = [0.0_f32; 16];
    let mut mins = [0.0_f32; 16];
    for (idx, (sub, weights)) in subs.iter().zip(weights).enumerate() {
        let fit = search(sub, weights, spec);
        scales[idx] = fit.scale.max(0.0);
        mins[idx] = -fit.offset;
    }
    let (d, mut scales) = quantize_scales(&scales, spec.max_scale_code);
    let (d_min, mut mins) = quantize_scales(&mins, spec.max_scale_code);
    let units = Units { d: d.to_f32(), d_min: d_min.to_f32() };

    let mut codes = [0; 256];
    for (idx, (sub, codes)) in subs.iter().zip(codes.as_chunks_mut::<N>().0).enumerate() {
        let rounded = SubBlockCodes { scale: scales[idx], min: mins[idx] };
        let refined = refine(&Weighted::new(sub, &weights[idx], 0.0), spec, &units, rounded);
        scales[idx] = refined.scale;
        mins[idx] = refined.min;
        let inverse = reciprocal(units.d * f32::from(scales[idx]));
        let min = units.d_min * f32::from(mins[idx]);
        for (code, x) in codes.iter_mut().zip(sub) {
            *code = nearest(limit((x + min) * inverse, 0.0, spec.max_code)) as i32 as u8;
        }
    }
    AffineBlock { d, d_min, scales, mins, codes }
}

/// The weights of all values' errors without an importance matrix.
pub(super) fn plain_weights<const N: usize>(values: &[f32; 256], spec: &AffineSpec) -> [f32; 256] {
    let mut weights = [0.0; 256];
    for (weights, sub) in weights.as_chunks_mut::<N>().0.iter_mut().zip(values.as_chunks::<N>().0) {
        let square = sub.iter().map(|x| x * x).sum::<f32>();
        let floor = spec.weight_floor * (square / N as f32).sqrt();
        *weights = sub.map(|x| floor + x.abs());
    }
    weights
}

/// The factors of a super-block: `scale = d * code`, `min = d_min * code`.
struct Units {
    d: f32,
    d_min: f32,
}

/// Codes of one sub-block's scale and minimum.
#[derive(Clone, Copy)]
struct SubBlockCodes {
    scale: u8,
    min: u8,
}

/// The fit of least weighted error for a block that stores scale and offset as they are, as Q4_1 and Q5_1 do.
pub(super) fn fit_block(values: &[f32; 32], weights: &[f32; 32], max_code: f32) -> Fit {
    let spec = AffineSpec { max_code, max_scale_code: 0.0, weight_floor: 0.0, first_step: -1.0, n_grids: 21 };
    // The search takes minima up to zero only, as super-blocks store them.
    let base = min_max(values).0.max(0.0);
    let fit = search(&values.map(|x| x - base), weights, &spec);
    Fit { offset: fit.offset + base, ..fit }
}

/// The best codes among `rounded` and its neighbours in scale, each with its best minimum.
fn refine<const N: usize>(
    sub: &Weighted<'_, N>,
    spec: &AffineSpec,
    units: &Units,
    rounded: SubBlockCodes,
) -> SubBlockCodes {
    let min_unit = reciprocal(units.d_min);
    let mut best = rounded;
    let mut best_error = f32::INFINITY;
    for scale_code in rounded.scale.saturating_sub(1)..=(rounded.scale + 1).min(spec.max_scale_code as u8) {
        let scale = units.d * f32::from(scale_code);
        let (wr, _) = residues(sub, scale, units.d_min * f32::from(rounded.min), spec.max_code);
        let shift = -wr * reciprocal(sub.w) * min_unit;
        let min_code = nearest(limit(f32::from(rounded.min) + shift, 0.0, spec.max_scale_code));
        let (_, error) = residues(sub, scale, units.d_min * min_code, spec.max_code);
        if error < best_error {
            best = SubBlockCodes { scale: scale_code, min: min_code as i32 as u8 };
            best_error = error;
        }
    }
    best
}

/// Weighted sums of the rounding residues and of their squares.
#[inline(always)]
fn residues<const N: usize>(sub: &Weighted<'_, N>, scale: f32, min: f32, max_code: f32) -> (f32, f32) {
    let inverse = reciprocal(scale);
    let mut wr = [0.0; LANES];
    let mut wrr = [0.0; LANES];
    for (w, x) in sub.weights.as_chunks::<LANES>().0.iter().zip(sub.shifted.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let code = nearest(limit((x[lane] + min) * inverse, 0.0, max_code));
            let residue = x[lane] + min - scale * code;
            wr[lane] += w[lane] * residue;
            wrr[lane] += w[lane] * residue * residue;
        }
    }
    (total(wr), total(wrr))
}

/// Rounds non-negative scales to codes of a common f16 unit.
fn quantize_scales(scales: &[f32; 16], max_code: f32) -> (f16, [u8; 16]) {
    let largest = scales.iter().copied().fold(0.0, f32::max);
    let unit = f16::from_f32(largest / max_code);
    let inverse = reciprocal(unit.to_f32());
    let codes = scales.map(|scale| nearest(limit(scale * inverse, 0.0, max_code)) as i32 as u8);
    (unit, codes)
}

/// `x ≈ scale * code + offset`.
#[derive(Clone, Copy)]
pub(super) struct Fit {
    pub(super) scale: f32,
    pub(super) offset: f32,
}

/// A sub-block as the search reads it. Working on `u = x - low` avoids cancellation where all values
/// are far from zero.
struct Weighted<'a, const N: usize> {
    low: f32,
    weights: &'a [f32; N],
    shifted: [f32; N],
    /// Sum of the weights.
    w: f32,
    /// Sum of weight times `u`.
    wu: f32,
}

/// The best fit with an offset of at most 0.
fn search<const N: usize>(values: &[f32; N], weights: &[f32; N], spec: &AffineSpec) -> Fit {
    let (low, high) = min_max(values);
    let low = low.min(0.0);
    if high <= low {
        return Fit { scale: 0.0, offset: low };
    }
    let sub = Weighted::new(values, weights, low);
    let spanning = Fit { scale: (high - low) / spec.max_code, offset: low };
    let (mut best, mut best_gain) = refit(&sub, spanning, spec.max_code);
    for grid in 0..spec.n_grids {
        // Each grid starts from the best offset so far: a descent and a scan in one.
        let steps = spec.max_code + spec.first_step + 0.1 * f32::from(grid);
        let grid = Fit { scale: (high - best.offset) / steps, offset: best.offset };
        let (fit, gain) = refit(&sub, grid, spec.max_code);
        if improves(gain, best_gain) {
            best = fit;
            best_gain = gain;
        }
    }
    best
}

impl<'a, const N: usize> Weighted<'a, N> {
    #[inline(always)]
    fn new(values: &[f32; N], weights: &'a [f32; N], low: f32) -> Self {
        let shifted = values.map(|x| x - low);
        let w = weights.iter().sum();
        let wu = weights.iter().zip(&shifted).map(|(w, u)| w * u).sum();
        Self { low, weights, shifted, w, wu }
    }
}

/// Least-squares scale and offset for the codes that `grid` rounds to, and the part of the weighted
/// square sum of the shifted values that they explain.
#[inline(always)]
fn refit<const N: usize>(sub: &Weighted<'_, N>, grid: Fit, max_code: f32) -> (Fit, f32) {
    let inverse = 1.0 / grid.scale;
    let origin = grid.offset - sub.low;
    let mut wl = [0.0; LANES];
    let mut wll = [0.0; LANES];
    let mut wul = [0.0; LANES];
    for (w, u) in sub.weights.as_chunks::<LANES>().0.iter().zip(sub.shifted.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let code = nearest(limit((u[lane] - origin) * inverse, 0.0, max_code));
            let weighted = w[lane] * code;
            wl[lane] += weighted;
            wll[lane] += weighted * code;
            wul[lane] += weighted * u[lane];
        }
    }
    let wl = total(wl);
    let wll = total(wll);
    let wul = total(wul);
    let w = sub.w;
    let wu = sub.wu;
    let determinant = w * wll - wl * wl;
    let offset = (wll * wu - wl * wul) / determinant;
    // Equal codes leave the system singular, and a stored minimum cannot be negative (offset > 0).
    let (scale, offset) = if determinant > 1e-6 * w * wll && offset + sub.low <= 0.0 {
        ((w * wul - wu * wl) / determinant, offset)
    } else {
        ((wul + sub.low * wl) * reciprocal(wll), -sub.low)
    };
    let gain =
        2.0 * (scale * wul + offset * wu) - scale * (scale * wll + 2.0 * offset * wl) - offset * offset * w;
    (Fit { scale, offset: offset + sub.low }, gain)
}
