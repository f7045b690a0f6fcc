//! TQ1_0: 256 values of -1, 0 and 1, five to a byte, and an f16 scale.
//!
//! ```text
//! bytes 0..32    value[32 * n + j] is digit n of byte j, n < 5
//! bytes 32..48   value[160 + 16 * n + j] is digit n of byte 32 + j, n < 5
//! bytes 48..52   value[240 + 4 * n + j] is digit n of byte 48 + j, n < 4
//! bytes 52..54   scale (f16)
//!
//! value[i] = scale * (digit[i] - 1)        scale = the largest magnitude
//! ```
//!
//! A byte is a fraction in base 3, `byte / 256 = 0.d0 d1 d2 d3 d4`, rounded up: multiplied by `3^n` modulo 256 and then
//! by 3, its carry is digit `n`.
//!
//! Source: `block_tq1_0` of ggml (llama.cpp pull request 8151).

use half::f16;

use super::indexed::{self, Indexed, IndexedBlock};
use super::rounding::{nearest_ties_away, reciprocal, signed_max};
use super::{BlockFormat, write_f16};
use crate::DType;

/// -1, 0 and 1; TQ2_0 has codes for 2 as well.
pub(super) const TABLE: [i8; 16] = [-1, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const RUNS: [Run; 3] = [
    Run { first_byte: 0, first_value: 0, n_bytes: 32, n_digits: 5 },
    Run { first_byte: 32, first_value: 160, n_bytes: 16, n_digits: 5 },
    Run { first_byte: 48, first_value: 240, n_bytes: 4, n_digits: 4 },
];

/// Neighbouring bytes: digit `n` of byte `j` of them belongs to value `n * n_bytes + j` of theirs.
struct Run {
    first_byte: usize,
    first_value: usize,
    n_bytes: usize,
    n_digits: usize,
}

pub(super) struct Tq1_0;

impl Indexed<54> for Tq1_0 {
    const DTYPE: DType = DType::Tq1_0;
    const UNIT: f32 = 1.0;
    const TABLE: [i8; 16] = TABLE;

    fn unpack(block: &[u8; 54], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[52], block[53]]);
        unpacked.scales = [1; 16];
        for Run { first_byte, first_value, n_bytes, n_digits } in RUNS {
            for j in 0..n_bytes {
                let mut fraction = block[first_byte + j];
                for n in 0..n_digits {
                    unpacked.indices[first_value + n * n_bytes + j] = ((u16::from(fraction) * 3) >> 8) as u8;
                    fraction = fraction.wrapping_mul(3);
                }
            }
        }
    }
}

impl BlockFormat<256, 54> for Tq1_0 {
    const DTYPE: DType = DType::Tq1_0;

    fn dequantize(block: &[u8; 54], values: &mut [f32; 256]) {
        indexed::dequantize::<Self, 54>(block, values);
    }

    fn quantize(values: &[f32; 256], block: &mut [u8; 54]) {
        let (scale, digits) = quantize(values);
        write_f16(block, 52, scale);
        for Run { first_byte, first_value, n_bytes, n_digits } in RUNS {
            for j in 0..n_bytes {
                let digit = |n: usize| if n < n_digits { digits[first_value + n * n_bytes + j] } else { 0 };
                let number = (0..5).fold(0, |number, n| 3 * number + u16::from(digit(n)));
                block[first_byte + j] = (number * 256).div_ceil(243) as u8;
            }
        }
    }
}

/// The scale, and the digit of each value.
pub(super) fn quantize(values: &[f32; 256]) -> (f32, [u8; 256]) {
    let scale = signed_max(values).abs();
    let inverse = reciprocal(scale);
    (scale, values.map(|x| (nearest_ties_away(x * inverse) + 1.0) as i32 as u8))
}
