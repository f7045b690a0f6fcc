//! Q2_K: 256 codes of 2 bits in 16 sub-blocks of 16, each with a scale and a minimum of 4 bits.
//!
//! ```text
//! bytes 0..16   scale | min << 4, one byte per sub-block
//! bytes 16..80  codes: value i of a half of 128 is in byte i % 32, bits 2 * (i / 32)
//! bytes 80..84  d, d_min (f16)
//!
//! value = d * scale * code - d_min * min
//! ```
//!
//! Source: `block_q2_K` of ggml (k-quants, llama.cpp pull request 1684).

use super::affine::{self, AffineSpec};
use super::{BlockFormat, read_f16};
use crate::DType;

pub(super) struct Q2K;

const SPEC: AffineSpec =
    AffineSpec { max_code: 3.0, max_scale_code: 15.0, weight_floor: 0.5, first_step: -0.5, n_grids: 16 };

impl BlockFormat<256, 84> for Q2K {
    const DTYPE: DType = DType::Q2K;

    fn dequantize(block: &[u8; 84], values: &mut [f32; 256]) {
        let d = read_f16(block, 80);
        let d_min = read_f16(block, 82);
        for (sub_idx, sub) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(block[sub_idx] & 15);
            let min = d_min * f32::from(block[sub_idx] >> 4);
            let half = sub_idx / 8;
            let quarter = sub_idx % 8 / 2;
            let codes = &block[16 + half * 32 + sub_idx % 2 * 16..][..16];
            for (value, byte) in sub.iter_mut().zip(codes) {
                *value = scale * f32::from(byte >> (2 * quarter) & 3) - min;
            }
        }
    }

    fn quantize(values: &[f32; 256], block: &mut [u8; 84]) {
        Self::quantize_weighted(values, &affine::plain_weights::<16>(values, &SPEC), block);
    }

    fn quantize_weighted(values: &[f32; 256], weights: &[f32; 256], block: &mut [u8; 84]) {
        let fit = affine::quantize::<16>(values, weights, &SPEC);
        for ((byte, scale), min) in block.iter_mut().zip(fit.scales).zip(fit.mins) {
            *byte = scale | min << 4;
        }
        for (codes, half) in fit.codes.as_chunks::<128>().0.iter().zip(block[16..80].as_chunks_mut::<32>().0)
        {
            for (j, byte) in half.iter_mut().enumerate() {
                *byte = codes[j] | codes[j + 32] << 2 | codes[j + 64] << 4 | codes[j + 96] << 6;
            }
        }
        block[80..82].copy_from_slice(&fit.d.to_le_bytes());
        block[82..84].copy_from_slice(&fit.d_min.to_le_bytes());
    }
}
