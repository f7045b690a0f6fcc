//! Q4_0: 32 codes of 4 bits and an f16 scale.
//!
//! ```text
//! bytes 0..2    scale (f16)
//! bytes 2..18   byte j: code[j] | code[j + 16] << 4
//!
//! value[i] = scale * (code[i] - 8)        scale = x / -8 for the x of largest magnitude
//! ```
//!
//! Codes run from -8 to 7, so the scale takes the sign that maps the largest value to -8: the end that
//! is exact.
//!
//! Source: `block_q4_0`, `quantize_row_q4_0_ref` of ggml.

use super::rounding::{limit, nearest, reciprocal, signed_max};
use super::{BlockFormat, read_f16, symmetric, write_f16, write_nibbles};
use crate::DType;

pub(super) struct Q4_0;

impl BlockFormat<32, 18> for Q4_0 {
    const DTYPE: DType = DType::Q4_0;

    fn dequantize(block: &[u8; 18], values: &mut [f32; 32]) {
        let scale = read_f16(block, 0);
        for (j, &pair) in block[2..].iter().enumerate() {
            values[j] = scale * (f32::from(pair & 15) - 8.0);
            values[j + 16] = scale * (f32::from(pair >> 4) - 8.0);
        }
    }

    fn quantize(values: &[f32; 32], block: &mut [u8; 18]) {
        let scale = signed_max(values) / -8.0;
        let inverse = reciprocal(scale);
        write_f16(block, 0, scale);
        let code = |value: f32| ((value * inverse + 8.5) as i32).min(15) as u8;
        write_nibbles(&mut block[2..], &values.map(code));
    }

    fn quantize_weighted(values: &[f32; 32], weights: &[f32; 32], block: &mut [u8; 18]) {
        let scale = write_f16(block, 0, symmetric::search(values, weights, 8.0, symmetric::N_GRIDS));
        let inverse = reciprocal(scale);
        let codes = values.map(|value| (nearest(limit(value * inverse, -8.0, 7.0)) + 8.0) as u8);
        write_nibbles(&mut block[2..], &codes);
    }
}
