//! MXFP4: 32 floats of 4 bits and a power of two.
//!
//! ```text
//! byte 0        exponent e (E8M0)
//! bytes 1..17   byte j: code[j] | code[j + 16] << 4
//!
//! value[i] = 2^(e - 128) * TABLE[code[i]]        e = 127 + floor(log2 |x|) - 2 for the x of largest magnitude
//! ```
//!
//! A code is a float with 1 bit of mantissa (E2M1) and stands for 0 to 6; the table has it doubled. ggml gives the
//! exponent 255, NaN in the specification, the value that the others follow.
//!
//! Sources: the [OCP microscaling formats](https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf);
//! `block_mxfp4`, `ggml_e8m0_to_fp32_half` and `quantize_row_mxfp4_ref` of ggml.

use super::BlockFormat;
use super::rounding::signed_max;
use crate::DType;

const TABLE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(super) struct Mxfp4;

impl BlockFormat<32, 17> for Mxfp4 {
    const DTYPE: DType = DType::Mxfp4;
    const MAX_ABS: f32 = f32::MAX;

    fn dequantize(block: &[u8; 17], values: &mut [f32; 32]) {
        let scale = scale(block[0]);
        for (j, &pair) in block[1..].iter().enumerate() {
            values[j] = scale * f32::from(TABLE[usize::from(pair & 15)]);
            values[j + 16] = scale * f32::from(TABLE[usize::from(pair >> 4)]);
        }
    }

    fn quantize(values: &[f32; 32], block: &mut [u8; 17]) {
        // The exponent field is floor(log2) + 127. That of zero and subnormal numbers is 0.
        let field = signed_max(values).abs().to_bits() >> 23;
        block[0] = field.saturating_sub(2) as u8;
        let scale = scale(block[0]);
        for (j, pair) in block[1..].iter_mut().enumerate() {
            *pair = nearest_code(values[j], scale) | nearest_code(values[j + 16], scale) << 4;
        }
    }
}

/// `2^(exponent - 128)`
fn scale(exponent: u8) -> f32 {
    let bits = match exponent {
        // Subnormal.
        0 | 1 => 0x0020_0000 << exponent,
        _ => (u32::from(exponent) - 1) << 23,
    };
    f32::from_bits(bits)
}

/// The code of the nearest value; the first of equals.
fn nearest_code(x: f32, scale: f32) -> u8 {
    let mut best = 0;
    let mut best_error = f32::INFINITY;
    for (code, entry) in (0..).zip(TABLE) {
        let error = (scale * f32::from(entry) - x).abs();
        if error < best_error {
            best = code;
            best_error = error;
        }
    }
    best
}
