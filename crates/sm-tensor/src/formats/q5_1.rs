//! Q5_1: 32 codes of 5 bits, an f16 scale and an f16 minimum.
//!
//! ```text
//! bytes 0..2    scale (f16)
//! bytes 2..4    min (f16)
//! bytes 4..24   codes, as in Q5_0
//!
//! value[i] = scale * code[i] + min        scale = (max - min) / 31
//! ```
//!
//! Source: `block_q5_1`, `quantize_row_q5_1_ref` of ggml.

use super::q5_0::{read_codes, write_codes};
use super::rounding::{limit, min_max, nearest, reciprocal};
use super::{BlockFormat, affine, read_f16, write_f16};
use crate::DType;

pub(super) struct Q5_1;

impl BlockFormat<32, 24> for Q5_1 {
    const DTYPE: DType = DType::Q5_1;

    fn dequantize(block: &[u8; 24], values: &mut [f32; 32]) {
        let scale = read_f16(block, 0);
        let min = read_f16(block, 2);
        for (value, code) in values.iter_mut().zip(read_codes(block, 4)) {
            *value = scale * f32::from(code) + min;
        }
    }

    fn quantize(values: &[f32; 32], block: &mut [u8; 24]) {
        let (min, max) = min_max(values);
        let scale = (max - min) / 31.0;
        let inverse = reciprocal(scale);
        write_f16(block, 0, scale);
        write_f16(block, 2, min);
        write_codes(block, 4, values.map(|value| (((value - min) * inverse + 0.5) as i32).min(31) as u8));
    }

    fn quantize_weighted(values: &[f32; 32], weights: &[f32; 32], block: &mut [u8; 24]) {
        let fit = affine::fit_block(values, weights, 31.0);
        let inverse = reciprocal(write_f16(block, 0, fit.scale));
        let min = write_f16(block, 2, fit.offset);
        write_codes(block, 4, values.map(|value| nearest(limit((value - min) * inverse, 0.0, 31.0)) as u8));
    }
}
