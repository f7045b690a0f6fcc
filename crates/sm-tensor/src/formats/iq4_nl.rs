//! IQ4_NL: 32 indices of 4 bits into a fixed non-linear table, and an f16 scale.
//!
//! ```text
//! bytes 0..2    scale (f16)
//! bytes 2..18   byte j: index[j] | index[j + 16] << 4
//!
//! value[i] = scale * VALUES[index[i]]
//! ```
//!
//! The table is denser near zero, where most weights are. The quantizer tries several scales around
//! those that map the value of largest magnitude to an end of the table, refines each to its weighted
//! least-squares scale, and keeps the best.
//!
//! Source: `block_iq4_nl`, `kvalues_iq4nl` and `quantize_row_iq4_nl_impl` of ggml.

use super::rounding::{LANES, improves, reciprocal, signed_max, total};
use super::symmetric::error_weights;
use super::{BlockFormat, read_f16, write_f16, write_nibbles};
use crate::DType;
use half::f16;

pub(super) const VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Grids tried on either side of the one that just spans the values, 1.5 % apart.
const N_GRIDS: i8 = 4;

/// Multiple of the block's mean square added to the weight x² of a value.
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
        write(values, search(values, &plain_weights(values)), block);
    }

    fn quantize_weighted(values: &[f32; 32], weights: &[f32; 32], block: &mut [u8; 18]) {
        write(values, search(values, weights), block);
    }
}

/// The weights of errors without an importance matrix.
pub(super) fn plain_weights(values: &[f32; 32]) -> [f32; 32] {
    error_weights(values, WEIGHT_FLOOR)
}

fn write(values: &[f32; 32], scale: f32, block: &mut [u8; 18]) {
    write_f16(block, 0, scale);
    let inverse = reciprocal(scale);
    let indices = values.map(|x| nearest_entry(x * inverse).1 as i32 as u8);
    write_nibbles(&mut block[2..], &indices);
}

/// The table entry nearest to `x`, and its index.
#[inline(always)]
pub(super) fn nearest_entry(x: f32) -> (f32, f32) {
    let mut entry = f32::from(VALUES[0]);
    let mut index = 0.0;
    // Counting the midpoints below x is branch-free and vectorises over x; a binary search is neither.
    for pair in VALUES.windows(2) {
        let low = f32::from(pair[0]);
        let high = f32::from(pair[1]);
        let above = x >= 0.5 * (low + high);
        entry += if above { high - low } else { 0.0 };
        index += if above { 1.0 } else { 0.0 };
    }
    (entry, index)
}

/// The scale of least weighted square error among the least-squares scales of several grids.
pub(super) fn search(values: &[f32; 32], weights: &[f32; 32]) -> f32 {
    let unit = reciprocal(signed_max(values));
    let mut best = 0.0;
    let mut best_gain = 0.0;
    for grid in -N_GRIDS..=N_GRIDS {
        // The table is not symmetric: the largest value may fit its positive or its negative end.
        for end in [VALUES[0], VALUES[15]] {
            let (scale, gain) =
                fit_grid(values, weights, f32::from(end) * (1.0 + 0.015 * f32::from(grid)) * unit);
            if improves(gain, best_gain) {
                best = scale;
                best_gain = gain;
            }
        }
    }
    best
}

/// The best f16 scale for the indices of one grid, and the part of the weighted square sum it explains.
#[inline(always)]
fn fit_grid(values: &[f32; 32], weights: &[f32; 32], inverse: f32) -> (f32, f32) {
    let mut wxq = [0.0; LANES];
    let mut wqq = [0.0; LANES];
    for (x, w) in values.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let entry = nearest_entry(x[lane] * inverse).0;
            let weighted = w[lane] * entry;
            wxq[lane] += weighted * x[lane];
            wqq[lane] += weighted * entry;
        }
    }
    let wxq = total(wxq);
    let wqq = total(wqq);
    let scale = f16::from_f32(wxq * reciprocal(wqq)).to_f32();
    (scale, scale * (2.0 * wxq - scale * wqq))
}
