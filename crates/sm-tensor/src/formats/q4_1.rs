//! Q4_1: an f16 scale and an f16 minimum, then 32 codes of 4 bits; byte `j` holds code `j` below code
//! `j + 16`.
//!
//! ```text
//! value[i] = scale * code[i] + min        scale = (max - min) / 15
//! ```

use super::rounding::{min_max, reciprocal};
use super::{BlockFormat, read_f16, write_f16};
use crate::DType;

pub(super) struct Q4_1;

impl BlockFormat<32, 20> for Q4_1 {
    const DTYPE: DType = DType::Q4_1;

    fn dequantize(block: &[u8; 20], values: &mut [f32; 32]) {
        let (scale, min) = (read_f16(block, 0), read_f16(block, 2));
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
        for (j, pair) in block[4..].iter_mut().enumerate() {
            *pair = code(values[j]) | code(values[j + 16]) << 4;
        }
    }
}
