//! Q5_0: 32 codes of 5 bits and an f16 scale.
//!
//! ```text
//! bytes 0..2    scale (f16)
//! bytes 2..6    bit i of a little-endian u32: bit 4 of code[i]
//! bytes 6..22   byte j: low 4 bits of code[j] | low 4 bits of code[j + 16] << 4
//!
//! value[i] = scale * (code[i] - 16)        scale = x / -16 for the x of largest magnitude
//! ```
//!
//! Source: `block_q5_0`, `quantize_row_q5_0_ref` of ggml.

use super::rounding::{limit, nearest, reciprocal, signed_max};
use super::{BlockFormat, read_f16, symmetric, write_f16, write_nibbles};
use crate::DType;

pub(super) struct Q5_0;

impl BlockFormat<32, 22> for Q5_0 {
    const DTYPE: DType = DType::Q5_0;

    fn dequantize(block: &[u8; 22], values: &mut [f32; 32]) {
        let scale = read_f16(block, 0);
        let codes = read_codes(block, 2);
        for (value, code) in values.iter_mut().zip(codes) {
            *value = scale * (f32::from(code) - 16.0);
        }
    }

    fn quantize(values: &[f32; 32], block: &mut [u8; 22]) {
        let scale = signed_max(values) / -16.0;
        let inverse = reciprocal(scale);
        write_f16(block, 0, scale);
        write_codes(block, 2, values.map(|value| ((value * inverse + 16.5) as i32).min(31) as u8));
    }

    fn quantize_weighted(values: &[f32; 32], weights: &[f32; 32], block: &mut [u8; 22]) {
        let scale = write_f16(block, 0, symmetric::search(values, weights, 16.0, symmetric::N_GRIDS));
        let inverse = reciprocal(scale);
        let code = |value: f32| (nearest(limit(value * inverse, -16.0, 15.0)) + 16.0) as u8;
        write_codes(block, 2, values.map(code));
    }
}

/// Reads the 5-bit codes whose fifth bits start at byte `offset`; Q5_1 stores them alike.
#[inline(always)]
pub(super) fn read_codes(block: &[u8], offset: usize) -> [u8; 32] {
    let (high, low) = block[offset..].split_at(4);
    std::array::from_fn(|i| (low[i % 16] >> (i / 16 * 4) & 15) | (high[i / 8] >> (i % 8) & 1) << 4)
}

/// Writes 5-bit codes from byte `offset` on, the inverse of [`read_codes`].
#[inline(always)]
pub(super) fn write_codes(block: &mut [u8], offset: usize, codes: [u8; 32]) {
    let (high, low) = block[offset..].split_at_mut(4);
    for (byte, codes) in high.iter_mut().zip(codes.as_chunks::<8>().0) {
        *byte = (0..8).fold(0, |bits, i| bits | (codes[i] >> 4) << i);
    }
    write_nibbles(low, &codes);
}
