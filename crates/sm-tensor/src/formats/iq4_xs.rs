//! IQ4_XS: 256 indices of 4 bits into the table of IQ4_NL, and a scale of 6 bits per 32.
//!
//! ```text
//! bytes 0..2     d (f16)
//! bytes 2..4     2 high bits of the scales + 32, scale i in bits 2 * i (u16)
//! bytes 4..8     4 low bits, two scales to a byte
//! bytes 8..136   per 32 values 16 bytes, byte j: index[j] | index[j + 16] << 4
//!
//! value = d * scale * TABLE[index]
//! ```
//!
//! The quantizer searches a scale for each 32 values as IQ4_NL does, rounds these to multiples of `d`, and takes the
//! nearest entries.
//!
//! Source: `block_iq4_xs` and `quantize_row_iq4_nl_impl` of ggml (llama.cpp pull request 5747).

use half::f16;

use super::indexed::{self, Indexed, IndexedBlock};
use super::iq4_nl::{self, nearest_entry, plain_weights, search};
use super::rounding::{limit, nearest, reciprocal, signed_max};
use super::{BlockFormat, write_f16, write_nibbles};
use crate::DType;

pub(super) struct Iq4Xs;

impl Indexed<136> for Iq4Xs {
    const DTYPE: DType = DType::Iq4Xs;
    const UNIT: f32 = 1.0;
    const TABLE: [i8; 16] = iq4_nl::VALUES;

    fn unpack(block: &[u8; 136], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[0], block[1]]);
        let high = u16::from_le_bytes([block[2], block[3]]);
        for (idx, indices) in unpacked.indices.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (j, &pair) in block[8 + 16 * idx..][..16].iter().enumerate() {
                indices[j] = pair & 15;
                indices[j + 16] = pair >> 4;
            }
        }
        for idx in 0..8 {
            let low = block[4 + idx / 2] >> (idx % 2 * 4) & 15;
            let code = low | ((high >> (2 * idx) & 3) << 4) as u8;
            unpacked.set_scale_of_32(idx, code.cast_signed() - 32);
        }
    }
}

impl BlockFormat<256, 136> for Iq4Xs {
    const DTYPE: DType = DType::Iq4Xs;

    fn dequantize(block: &[u8; 136], values: &mut [f32; 256]) {
        indexed::dequantize::<Self, 136>(block, values);
    }

    fn quantize(values: &[f32; 256], block: &mut [u8; 136]) {
        let mut weights = [0.0; 256];
        for (weights, sub) in weights.as_chunks_mut().0.iter_mut().zip(values.as_chunks().0) {
            *weights = plain_weights(sub);
        }
        Self::quantize_weighted(values, &weights, block);
    }

    fn quantize_weighted(values: &[f32; 256], weights: &[f32; 256], block: &mut [u8; 136]) {
        let mut scales = [0.0; 8];
        let subs = values.as_chunks().0.iter().zip(weights.as_chunks().0);
        for (scale, (sub, weights)) in scales.iter_mut().zip(subs) {
            *scale = search(sub, weights);
        }
        let d = write_f16(block, 0, signed_max(&scales) / -32.0);
        let inverse = reciprocal(d);
        block[2..8].fill(0);
        for (idx, sub) in values.as_chunks::<32>().0.iter().enumerate() {
            let scale = nearest(limit(scales[idx] * inverse, -32.0, 31.0));
            let code = (scale + 32.0) as i32 as u8;
            block[2 + idx / 4] |= (code >> 4) << (idx % 4 * 2);
            block[4 + idx / 2] |= (code & 15) << (idx % 2 * 4);
            let inverse = reciprocal(d * scale);
            let indices = sub.map(|x| nearest_entry(x * inverse).1 as i32 as u8);
            write_nibbles(&mut block[8 + 16 * idx..][..16], &indices);
        }
    }
}
