//! Q4_1: 32 codes of 4 bits, an f16 scale and an f16 minimum.
//!
//! ```text
//! bytes 0..2    scale (f16)
//! bytes 2..4    min (f16)
//! bytes 4..20   byte j: code[j] | code[j + 16] << 4
//!
//! value[i] = scale * code[i] + min        scale = (max - min) / 15
//! ```
//!
//! Source: `block_q4_1`, `quantize_row_q4_1_ref` of ggml.

use super::rounding::{limit, min_max, nearest, reciprocal};
use super::{BlockFormat, affine, read_f16, write_f16, write_nibbles};
use crate::DType;

pub(super) struct Q4_1;

impl BlockFormat<32, 20> for Q4_1 {
    const DTYPE: DType = DType::Q4_1;

    fn dequantize(block: &[u8; 20], values: &mut [f32; 32]) {
        let scale = read_f16(block, 0);
        let min = read_f16(block, 2);
        for (j, &pair) in block[4..].iter().enumerate() {
            values[j] = scale * f32::from(pair & 15) + min;
            values[j + 16] = scale * f32::from(pair >> 4) + min;
        }
    }

    fn quantize(values: &[f32; 32], block: &mut [u8; 20]) {
        let (min, max) = min_max(values);
        let scale = (max - min) / 15.0;
        let inverse = reciprocal(scale);
        write_f16(block, 0, scale);
        write_f16(block, 2, min);
        let code = |value: f32| (((value - min) * inverse + 0.5) as i32).min(15) as u8;
        write_nibbles(&mut block[4..], &values.map(code));
    }

    fn quantize_weighted(values: &[f32; 32], weights: &[f32; 32], block: &mut [u8; 20]) {
        let fit = affine::fit_block(values, weights, 15.0);
        let inverse = reciprocal(write_f16(block, 0, fit.scale));
        let min = write_f16(block, 2, fit.offset);
        let codes = values.map(|value| nearest(limit((value - min) * inverse, 0.0, 15.0)) as u8);
        write_nibbles(&mut block[4..], &codes);
    }
}
