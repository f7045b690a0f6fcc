//! TQ2_0: 256 values of -1, 0 and 1 in codes of 2 bits, and an f16 scale.
//!
//! ```text
//! bytes 0..64    codes: value i of a half of 128 is in byte i % 32, bits 2 * (i / 32)
//! bytes 64..66   scale (f16)
//!
//! value[i] = scale * (code[i] - 1)        scale = the largest magnitude
//! ```
//!
//! Source: `block_tq2_0` of ggml (llama.cpp pull request 8151).

use half::f16;

use super::indexed::{self, Indexed, IndexedBlock};
use super::{BlockFormat, tq1_0, write_f16};
use crate::DType;

pub(super) struct Tq2_0;

impl Indexed<66> for Tq2_0 {
    const DTYPE: DType = DType::Tq2_0;
    const UNIT: f32 = 1.0;
    const TABLE: [i8; 16] = tq1_0::TABLE;

    fn unpack(block: &[u8; 66], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[64], block[65]]);
        unpacked.scales = [1; 16];
        for (idx, indices) in unpacked.indices.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let bytes = &block[idx / 4 * 32..][..32];
            for (index, byte) in indices.iter_mut().zip(bytes) {
                *index = byte >> (idx % 4 * 2) & 3;
            }
        }
    }
}

impl BlockFormat<256, 66> for Tq2_0 {
    const DTYPE: DType = DType::Tq2_0;

    fn dequantize(block: &[u8; 66], values: &mut [f32; 256]) {
        indexed::dequantize::<Self, 66>(block, values);
    }

    fn quantize(values: &[f32; 256], block: &mut [u8; 66]) {
        let (scale, codes) = tq1_0::quantize(values);
        write_f16(block, 64, scale);
        for (half, bytes) in codes.as_chunks::<128>().0.iter().zip(block.as_chunks_mut::<32>().0) {
            for (j, byte) in bytes.iter_mut().enumerate() {
                *byte = half[j] | half[j + 32] << 2 | half[j + 64] << 4 | half[j + 96] << 6;
            }
        }
    }
}
