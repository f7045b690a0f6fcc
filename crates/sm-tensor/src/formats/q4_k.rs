//! Q4_K: 256 codes of 4 bits in 8 sub-blocks of 32, each with a scale and a minimum of 6 bits.
//!
//! ```text
//! bytes 0..4     d, d_min (f16)
//! bytes 4..16    scales and minima, see packed_scales.rs
//! bytes 16..144  codes: of each 64 values byte j holds code j below code j + 32
//!
//! value = d * scale * code - d_min * min
//! ```
//!
//! Source: `block_q4_K` of ggml (k-quants, llama.cpp pull request 1684).

use super::affine::{self, AffineSpec};
use super::{BlockFormat, packed_scales, read_f16};
use crate::DType;

pub(super) struct Q4K;

const SPEC: AffineSpec =
    AffineSpec { max_code: 15.0, max_scale_code: 63.0, weight_floor: 1.0, first_step: -1.0, n_grids: 21 };

impl BlockFormat<256, 144> for Q4K {
    const DTYPE: DType = DType::Q4K;

    fn dequantize(block: &[u8; 144], values: &mut [f32; 256]) {
        let d = read_f16(block, 0);
        let d_min = read_f16(block, 2);
        let (scales, mins) = packed_scales::unpack_k_scales(&block[4..16]);
        for (sub_idx, sub) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let scale = d * f32::from(scales[sub_idx]);
            let min = d_min * f32::from(mins[sub_idx]);
            let codes = &block[16 + sub_idx / 2 * 32..][..32];
            for (value, pair) in sub.iter_mut().zip(codes) {
                *value = scale * f32::from(pair >> (sub_idx % 2 * 4) & 15) - min;
            }
        }
    }

    fn quantize(values: &[f32; 256], block: &mut [u8; 144]) {
        Self::quantize_weighted(values, &affine::plain_weights::<32>(values, &SPEC), block);
    }

    fn quantize_weighted(values: &[f32; 256], weights: &[f32; 256], block: &mut [u8; 144]) {
        let fit = affine::quantize::<32>(values, weights, &SPEC);
        block[0..2].copy_from_slice(&fit.d.to_le_bytes());
        block[2..4].copy_from_slice(&fit.d_min.to_le_bytes());
        packed_scales::pack(&fit.scales, &fit.mins, &mut block[4..16]);
        for (codes, pairs) in fit.codes.as_chunks::<64>().0.iter().zip(block[16..].as_chunks_mut::<32>().0) {
            for (j, pair) in pairs.iter_mut().enumerate() {
                *pair = codes[j] | codes[j + 32] << 4;
            }
        }
    }
}
