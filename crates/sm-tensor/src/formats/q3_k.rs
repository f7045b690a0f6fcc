//! Q3_K: 256 codes of 3 bits in 16 sub-blocks of 16, each with a signed scale of 6 bits.
//!
//! ```text
//! bytes 0..32     third bits of the codes: value i is bit i / 32 of byte i % 32
//! bytes 32..96    2 low bits: value i of a half of 128 is in byte i % 32, bits 2 * (i / 32)
//! bytes 96..108   scales + 32: byte j < 8 holds the low 4 bits of scales j and j + 8;
//!                 byte 8 + j holds the high 2 bits of scales j, j + 4, j + 8 and j + 12
//! bytes 108..110  d (f16)
//!
//! value = d * scale * (code - 4)
//! ```
//!
//! Source: `block_q3_K` of ggml (k-quants, llama.cpp pull request 1684).

use super::symmetric::{self, SymmetricSpec};
use super::{BlockFormat, read_f16};
use crate::DType;

pub(super) struct Q3K;

const SPEC: SymmetricSpec =
    SymmetricSpec { half: 4.0, scale_half: 32.0, weight_floor: 0.5, n_grids: symmetric::N_GRIDS };

impl BlockFormat<256, 110> for Q3K {
    const DTYPE: DType = DType::Q3K;

    fn dequantize(block: &[u8; 110], values: &mut [f32; 256]) {
        let d = read_f16(block, 108);
        for (sub_idx, sub) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * read_scale(&block[96..108], sub_idx);
            let first = sub_idx % 2 * 16;
            let third_bits = &block[first..][..16];
            let low_bits = &block[32 + sub_idx / 8 * 32 + first..][..16];
            for ((value, third), low) in sub.iter_mut().zip(third_bits).zip(low_bits) {
                let code = low >> (sub_idx % 8 / 2 * 2) & 3 | (third >> (sub_idx / 2) & 1) << 2;
                *value = scale * (f32::from(code) - 4.0);
            }
        }
    }

    fn quantize(values: &[f32; 256], block: &mut [u8; 110]) {
        Self::quantize_weighted(values, &symmetric::plain_weights(values, &SPEC), block);
    }

    fn quantize_weighted(values: &[f32; 256], weights: &[f32; 256], block: &mut [u8; 110]) {
        let fit = symmetric::quantize(values, weights, &SPEC);
        for (j, byte) in block[..32].iter_mut().enumerate() {
            *byte = (0..8).fold(0, |bits, i| bits | (fit.codes[i * 32 + j] >> 2) << i);
        }
        for (codes, half) in fit.codes.as_chunks::<128>().0.iter().zip(block[32..96].as_chunks_mut::<32>().0)
        {
            for (j, byte) in half.iter_mut().enumerate() {
                *byte = (0..4).fold(0, |bits, i| bits | (codes[i * 32 + j] & 3) << (2 * i));
            }
        }
        write_scales(&fit.scales, &mut block[96..108]);
        block[108..110].copy_from_slice(&fit.d.to_le_bytes());
    }
}

fn read_scale(packed: &[u8], idx: usize) -> f32 {
    let low = packed[idx % 8] >> (idx / 8 * 4) & 15;
    let high = packed[8 + idx % 4] >> (idx / 4 * 2) & 3;
    f32::from(low | high << 4) - 32.0
}

fn write_scales(scales: &[i8; 16], packed: &mut [u8]) {
    let codes = scales.map(|scale| (scale + 32).cast_unsigned());
    for j in 0..8 {
        packed[j] = codes[j] & 15 | codes[j + 8] << 4;
    }
    for j in 0..4 {
        packed[8 + j] = (0..4).fold(0, |bits, i| bits | (codes[i * 4 + j] >> 4) << (2 * i));
    }
}
