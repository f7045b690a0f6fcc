//! IQ1_M: groups of 8 values from the grid of IQ1_S, each with its own shift, and a scale of 3 bits per 16.
//!
//! ```text
//! bytes 0..32    8 low bits of the 32 positions in the grid
//! bytes 32..48   4 bits per group: 3 high bits of the position, 1 if the shift is negative
//! bytes 48..56   four u16: four scales of 3 bits each, and 4 bits of d (f16), the low ones first
//!
//! value = d / 8 * (2 * scale + 1) * (8 * grid ± 1)
//! ```
//!
//! Source: `block_iq1_m` and `dequantize_row_iq1_m` of ggml (llama.cpp pull request 6302).

use half::f16;

use super::indexed::{Indexed, IndexedBlock};
use super::iq1_s;
use crate::DType;

pub(super) struct Iq1M;

impl Indexed<56> for Iq1M {
    const DTYPE: DType = DType::Iq1M;
    const UNIT: f32 = 0.125;
    const TABLE: [i8; 16] = iq1_s::TABLE;

    fn unpack(block: &[u8; 56], unpacked: &mut IndexedBlock) {
        for (group, indices) in unpacked.indices.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let bits = block[32 + group / 2] >> (group % 2 * 4);
            let position = usize::from(block[group]) | usize::from(bits & 7) << 8;
            *indices = iq1_s::shifted(position, bits & 8 != 0);
        }
        let mut d = 0;
        for (idx, bytes) in block[48..].as_chunks::<2>().0.iter().enumerate() {
            let bits = u16::from_le_bytes(*bytes);
            d |= bits >> 12 << (4 * idx);
            for (k, scale) in unpacked.scales[4 * idx..][..4].iter_mut().enumerate() {
                *scale = (2 * (bits >> (3 * k) & 7) + 1) as i8;
            }
        }
        unpacked.d = f16::from_bits(d);
    }
}
