//! IQ4_NL: an f16 scale, then 32 indices of 4 bits into a fixed table, denser near zero; byte `j` holds
//! index `j` below index `j + 16`.
//!
//! ```text
//! value[i] = scale * VALUES[index[i]]
//! ```

use super::rounding::{LANES, improves, reciprocal, signed_max, total};
use super::symmetric::weigh;
use super::{BlockFormat, read_f16, write_f16};
use crate::DType;
use half::f16;

const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Grids tried to each side of the one that just spans the values, 1.5 % apart.
const N_GRIDS: i8 = 4;

/// How much the mean square of the block adds to the weight x² of a value.
const WEIGHT_FLOOR: f32 = 1.0;

pub(super) struct Iq4Nl;

impl BlockFormat<32, 18> for Iq4Nl {
    const DTYPE: DType = DType::Iq4Nl;

    fn dequantize(block: &[u8; 18], values: &mut [f32; 32]) {
        let scale = read_f16(block, 0);
        for (j, &pair) in block[2..].iter().enumerate() {
            values[j] = scale * f32::from(VALUES[usize::from(pair & 15)]);
            values[j + 16] = scale * f32::from(VALUES[usize::from(pair >> 4)]);
        }
    }

    fn quantize(values: &[f32; 32], block: &mut [u8; 18]) {
        let scale = search(values);
        write_f16(block, 0, scale);
        let inverse = reciprocal(scale);
        let indices = values.map(|x| nearest_entry(x * inverse).1 as i32 as u8);
        for (j, pair) in block[2..].iter_mut().enumerate() {
            *pair = indices[j] | indices[j + 16] << 4;
        }
    }
}

/// The entry of the table next to `x`, and its index.
#[inline(always)]
fn nearest_entry(x: f32) -> (f32, f32) {
    let (mut entry, mut index) = (f32::from(VALUES[0]), 0.0);
    // Counting the midpoints below x needs no branch and works on several x at once.
    for pair in VALUES.windows(2) {
        let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
        let above = x >= 0.5 * (low + high);
        entry += if above { high - low } else { 0.0 };
        index += if above { 1.0 } else { 0.0 };
    }
    (entry, index)
}

/// The scale with the least weighted square error among the least-squares
/// scales of several grids.
fn search(values: &[f32; 32]) -> f32 {
    let unit = reciprocal(signed_max(values));
    let weights = weigh(values, WEIGHT_FLOOR);
    let (mut best, mut best_gain) = (0.0, 0.0);
    for grid in -N_GRIDS..=N_GRIDS {
        // The table is not symmetric: the largest value may suit its positive or its negative end.
        for end in [VALUES[0], VALUES[15]] {
            let (scale, gain) =
                fit_grid(values, &weights, f32::from(end) * (1.0 + 0.015 * f32::from(grid)) * unit);
            if improves(gain, best_gain) {
                (best, best_gain) = (scale, gain);
            }
        }
    }
    best
}

/// The best f16 scale for the indices of one grid, and how much of the weighted square sum it explains.
#[inline(always)]
fn fit_grid(values: &[f32; 32], weights: &[f32; 32], inverse: f32) -> (f32, f32) {
    let (mut wxq, mut wqq) = ([0.0; LANES], [0.0; LANES]);
    for (x, w) in values.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let entry = nearest_entry(x[lane] * inverse).0;
            let weighted = w[lane] * entry;
            wxq[lane] += weighted * x[lane];
            wqq[lane] += weighted * entry;
        }
    }
    let (wxq, wqq) = (total(wxq), total(wqq));
    let scale = f16::from_f32(wxq * reciprocal(wqq)).to_f32();
    (scale, scale * (2.0 * wxq - scale * wqq))
}
