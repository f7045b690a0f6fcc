//! Q6_K: 256 codes of 6 bits in 16 sub-blocks of 16, each with a signed scale of 8 bits.
//!
//! ```text
//! bytes 0..128    4 low bits of the codes: of each 128 values byte j < 64 holds code j below code j + 64
//! bytes 128..192  2 high bits: value i of a half of 128 is in byte i % 32, bits 2 * (i / 32)
//! bytes 192..208  scales (i8)
//! bytes 208..210  d (f16)
//!
//! value = d * scale * (code - 32)
//! ```
//!
//! Source: `block_q6_K` of ggml (k-quants, llama.cpp pull request 1684).

use super::symmetric::{self, SymmetricSpec};
use super::{BlockFormat, importance, read_f16};
use crate::DType;

pub(super) struct Q6K;

const SPEC: SymmetricSpec =
    SymmetricSpec { half: 32.0, scale_half: 128.0, weight_floor: 0.0, n_grids: symmetric::N_GRIDS };

impl BlockFormat<256, 210> for Q6K {
    const DTYPE: DType = DType::Q6K;

    fn dequantize(block: &[u8; 210], values: &mut [f32; 256]) {
        let d = read_f16(block, 208);
        for (sub_idx, sub) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(block[192 + sub_idx].cast_signed());
            let half = sub_idx / 8;
            let low_bits = &block[half * 64 + sub_idx % 4 * 16..][..16];
            let high_bits = &block[128 + half * 32 + sub_idx % 2 * 16..][..16];
            for ((value, low), high) in sub.iter_mut().zip(low_bits).zip(high_bits) {
                let code = low >> (sub_idx % 8 / 4 * 4) & 15 | (high >> (sub_idx % 8 / 2 * 2) & 3) << 4;
                *value = scale * (f32::from(code) - 32.0);
            }
        }
    }

    fn quantize(values: &[f32; 256], block: &mut [u8; 210]) {
        Self::quantize_weighted(values, &symmetric::plain_weights(values, &SPEC), block);
    }

    fn error_weights(importance: &[f32; 256], _values: &[f32; 256]) -> Option<[f32; 256]> {
        importance::relative(importance)
    }

    fn quantize_weighted(values: &[f32; 256], weights: &[f32; 256], block: &mut [u8; 210]) {
        let fit = symmetric::quantize(values, weights, &SPEC);
        for (codes, low_bits) in fit.codes.as_chunks::<128>().0.iter().zip(block.as_chunks_mut::<64>().0) {
            for (j, pair) in low_bits.iter_mut().enumerate() {
                *pair = codes[j] & 15 | codes[j + 64] << 4;
            }
        }
        for (codes, high_bits) in
            fit.codes.as_chunks::<128>().0.iter().zip(block[128..192].as_chunks_mut::<32>().0)
        {
            for (j, byte) in high_bits.iter_mut().enumerate() {
                *byte = (0..4).fold(0, |bits, i| bits | (codes[i * 32 + j] >> 4) << (2 * i));
            }
        }
        for (byte, scale) in block[192..208].iter_mut().zip(fit.scales) {
            *byte = scale.cast_unsigned();
        }
        block[208..210].copy_from_slice(&fit.d.to_le_bytes());
    }
}
