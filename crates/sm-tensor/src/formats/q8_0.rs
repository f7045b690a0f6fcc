//! Q8_0: 32 signed bytes and an f16 scale.
//!
//! ```text
//! bytes 0..2    scale (f16)
//! bytes 2..34   code[i] (i8)
//!
//! value[i] = scale * code[i]        scale = max |x| / 127
//! ```
//!
//! Codes round ties away from zero, as C's `roundf` does in ggml.
//!
//! Source: `block_q8_0`, `quantize_row_q8_0_ref` of ggml.

use super::rounding::{min_max, nearest_ties_away, reciprocal};
use super::{BlockFormat, read_f16, write_f16};
use crate::DType;

pub(super) struct Q8_0;

impl BlockFormat<32, 34> for Q8_0 {
    const DTYPE: DType = DType::Q8_0;

    fn dequantize(block: &[u8; 34], values: &mut [f32; 32]) {
        let scale = read_f16(block, 0);
        for (value, &code) in values.iter_mut().zip(&block[2..]) {
            *value = f32::from(code.cast_signed()) * scale;
        }
    }

    fn quantize(values: &[f32; 32], block: &mut [u8; 34]) {
        let (low, high) = min_max(values);
        let scale = high.abs().max(low.abs()) / 127.0;
        let inverse = reciprocal(scale);
        write_f16(block, 0, scale);
        for (code, value) in block[2..].iter_mut().zip(values) {
            *code = (nearest_ties_away(value * inverse) as i32) as u8;
        }
    }
}
