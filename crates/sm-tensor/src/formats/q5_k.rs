//! Q5_K: 256 codes of 5 bits in 8 sub-blocks of 32, each with a scale and a minimum of 6 bits.
//!
//! ```text
//! bytes 0..4     d, d_min (f16)
//! bytes 4..16    scales and minima, see packed_scales.rs
//! bytes 16..48   fifth bits of the codes: value i is bit i / 32 of byte i % 32
//! bytes 48..176  4 low bits: of each 64 values byte j holds code j below code j + 32
//!
//! value = d * scale * code - d_min * min
//! ```
//!
//! Source: `block_q5_K` of ggml (k-quants, llama.cpp pull request 1684).

use super::affine::{self, AffineSpec};
use super::{BlockFormat, packed_scales, read_f16};
use crate::DType;

pub(super) struct Q5K;

const SPEC: AffineSpec =
    AffineSpec { max_code: 31.0, max_scale_code: 63.0, weight_floor: 1.0, first_step: -0.5, n_grids: 16 };

impl BlockFormat<256, 176> for Q5K {
    const DTYPE: DType = DType::Q5K;

    fn dequantize(block: &[u8; 176], values: &mut [f32; 256]) {
        let d = read_f16(block, 0);
        let d_min = read_f16(block, 2);
        let (scales, mins) = packed_scales::unpack_k_scales(&block[4..16]);
        for (sub_idx, sub) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let scale = d * f32::from(scales[sub_idx]);
            let min = d_min * f32::from(mins[sub_idx]);
            let low_bits = &block[48 + sub_idx / 2 * 32..][..32];
            for ((value, fifth), low) in sub.iter_mut().zip(&block[16..48]).zip(low_bits) {
                let code = low >> (sub_idx % 2 * 4) & 15 | (fifth >> sub_idx & 1) << 4;
                *value = scale * f32::from(code) - min;
            }
        }
    }

    fn quantize(values: &[f32; 256], block: &mut [u8; 176]) {
        Self::quantize_weighted(values, &affine::plain_weights::<32>(values, &SPEC), block);
    }

    fn quantize_weighted(values: &[f32; 256], weights: &[f32; 256], block: &mut [u8; 176]) {
        let fit = affine::quantize::<32>(values, weights, &SPEC);
        block[0..2].copy_from_slice(&fit.d.to_le_bytes());
        block[2..4].copy_from_slice(&fit.d_min.to_le_bytes());
        packed_scales::pack(&fit.scales, &fit.mins, &mut block[4..16]);
        for (j, byte) in block[16..48].iter_mut().enumerate() {
            *byte = (0..8).fold(0, |bits, i| bits | (fit.codes[i * 32 + j] >> 4) << i);
        }
        for (codes, pairs) in fit.codes.as_chunks::<64>().0.iter().zip(block[48..].as_chunks_mut::<32>().0) {
            for (j, pair) in pairs.iter_mut().enumerate() {
                *pair = codes[j] & 15 | codes[j + 32] << 4;
            }
        }
    }
}
