//! IQ2_S: groups of 8 values from a grid of 1024, a sign bit per value, and a scale of 4 bits per 16.
//!
//! ```text
//! bytes 0..2     d (f16)
//! bytes 2..34    8 low bits of the 32 positions in the grid
//! bytes 34..66   signs, bit i % 8 of byte i / 8
//! bytes 66..74   2 high bits of the positions: group 4 * i + k in bits 2 * k of byte i
//! bytes 74..82   scales, two to a byte
//!
//! value = ± d / 8 * (2 * scale + 1) * {8, 25, 43}
//! ```
//!
//! Source: `block_iq2_s` and `dequantize_row_iq2_s` of ggml (llama.cpp pull request 5721).

use half::f16;

use super::grids::{IQ2_S_GRID, indices_of_8};
use super::indexed::{Indexed, IndexedBlock};
use super::iq2_xxs;
use crate::DType;

pub(super) struct Iq2S;

impl Indexed<82> for Iq2S {
    const DTYPE: DType = DType::Iq2S;
    const UNIT: f32 = 0.125;
    const TABLE: [i8; 16] = iq2_xxs::TABLE;

    fn unpack(block: &[u8; 82], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[0], block[1]]);
        for (group, indices) in unpacked.indices.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let high = usize::from(block[66 + group / 4] >> (group % 4 * 2) & 3);
            let position = usize::from(block[2 + group]) | high << 8;
            *indices = indices_of_8(IQ2_S_GRID[position], block[34 + group]);
        }
        iq2_xxs::unpack_scales(&block[74..], &mut unpacked.scales);
    }
}
