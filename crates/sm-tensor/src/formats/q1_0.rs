//! Q1_0: 128 signs and an f16 scale.
//!
//! ```text
//! bytes 0..2    scale (f16)
//! bytes 2..18   bit i % 8 of byte i / 8: 1 if value i is not negative
//!
//! value[i] = ± scale        scale = the mean magnitude
//! ```
//!
//! Source: `block_q1_0`, `quantize_row_q1_0_ref` of ggml.

use super::{BlockFormat, read_f16, write_f16};
use crate::DType;

pub(super) struct Q1_0;

impl BlockFormat<128, 18> for Q1_0 {
    const DTYPE: DType = DType::Q1_0;

    fn dequantize(block: &[u8; 18], values: &mut [f32; 128]) {
        let scale = read_f16(block, 0);
        for (values, bits) in values.as_chunks_mut::<8>().0.iter_mut().zip(&block[2..]) {
            for (i, value) in values.iter_mut().enumerate() {
                *value = if bits >> i & 1 == 1 { scale } else { -scale };
            }
        }
    }

    fn quantize(values: &[f32; 128], block: &mut [u8; 18]) {
        let sum: f32 = values.iter().map(|x| x.abs()).sum();
        write_f16(block, 0, sum / 128.0);
        for (byte, values) in block[2..].iter_mut().zip(values.as_chunks::<8>().0) {
            *byte = (0..8).fold(0, |bits, i| bits | u8::from(values[i] >= 0.0) << i);
        }
    }
}
