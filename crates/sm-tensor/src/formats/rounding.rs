//! Rounding and reductions over a block, in forms the compiler vectorises.
//!
//! Reductions keep [`LANES`] independent accumulators and add them up at the end, so that they need no
//! reassociation of floats, which the compiler must not do.

/// 1.5 × 2²³: above it the spacing of floats is 1, so adding and subtracting it rounds to integers.
const INTEGERS: f32 = 12_582_912.0;

/// Independent accumulators of a reduction.
pub(super) const LANES: usize = 8;

/// The nearest integer, ties to even; exact for magnitudes up to 2²².
#[inline(always)]
pub(super) fn nearest(x: f32) -> f32 {
    (x + INTEGERS) - INTEGERS
}

/// The nearest integer, ties away from zero; exact for magnitudes up to 2²².
#[inline(always)]
pub(super) fn nearest_ties_away(x: f32) -> f32 {
    let even = nearest(x.abs());
    let up = if x.abs() - even >= 0.5 { even + 1.0 } else { even };
    up.copysign(x)
}

/// `x` clamped to `low..=high`. Unlike [`f32::clamp`] it maps NaN to a bound, which makes it two
/// instructions (`maxps`, `minps`).
#[inline(always)]
pub(super) fn limit(x: f32, low: f32, high: f32) -> f32 {
    let above = if x > low { x } else { low };
    if above < high { above } else { high }
}

/// `1 / scale`, or 0 if that is infinite: a scale that small rounds to zero.
#[inline(always)]
pub(super) fn reciprocal(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// Whether `gain` beats `best` by more than rounding noise, so that the first of equals wins.
#[inline(always)]
pub(super) fn improves(gain: f32, best: f32) -> bool {
    gain > best * (1.0 + 4.0 * f32::EPSILON)
}

/// The smallest and the largest value.
#[inline(always)]
pub(super) fn min_max<const N: usize>(values: &[f32; N]) -> (f32, f32) {
    let mut low = [f32::INFINITY; LANES];
    let mut high = [f32::NEG_INFINITY; LANES];
    for chunk in values.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            low[lane] = if chunk[lane] < low[lane] { chunk[lane] } else { low[lane] };
            high[lane] = if chunk[lane] > high[lane] { chunk[lane] } else { high[lane] };
        }
    }
    (low.into_iter().fold(f32::INFINITY, f32::min), high.into_iter().fold(f32::NEG_INFINITY, f32::max))
}

/// The value of largest magnitude, with its sign; the first of equals.
#[inline(always)]
pub(super) fn signed_max<const N: usize>(values: &[f32; N]) -> f32 {
    let (low, high) = min_max(values);
    if high > -low {
        high
    } else if high < -low {
        low
    } else {
        values.iter().copied().find(|value| value.abs() == high).unwrap_or(high)
    }
}

/// The sum of the lanes.
#[inline(always)]
pub(super) fn total(lanes: [f32; LANES]) -> f32 {
    lanes.iter().sum()
}
