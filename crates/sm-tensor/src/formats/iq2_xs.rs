//! IQ2_XS: groups of 8 values from a grid of 512, 7 bits of signs per group, and a scale of 4 bits per 16.
//!
//! ```text
//! bytes 0..2     d (f16)
//! bytes 2..66    a u16 per group: 9 bits of position in the grid, 7 signs
//! bytes 66..74   scales, two to a byte
//!
//! value = ± d / 8 * (2 * scale + 1) * {8, 25, 43}
//! ```
//!
//! Source: `block_iq2_xs` and `dequantize_row_iq2_xs` of ggml (llama.cpp pull request 4856).

use half::f16;

use super::grids::{IQ2_XS_GRID, even_signs, indices_of_8};
use super::indexed::{Indexed, IndexedBlock};
use super::iq2_xxs;
use crate::DType;

pub(super) struct Iq2Xs;

impl Indexed<74> for Iq2Xs {
    const DTYPE: DType = DType::Iq2Xs;
    const UNIT: f32 = 0.125;
    const TABLE: [i8; 16] = iq2_xxs::TABLE;

    fn unpack(block: &[u8; 74], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[0], block[1]]);
        let groups = unpacked.indices.as_chunks_mut::<8>().0;
        for (indices, bytes) in groups.iter_mut().zip(block[2..66].as_chunks::<2>().0) {
            let bits = u16::from_le_bytes(*bytes);
            *indices = indices_of_8(IQ2_XS_GRID[usize::from(bits & 511)], even_signs(u32::from(bits >> 9)));
        }
        iq2_xxs::unpack_scales(&block[66..], &mut unpacked.scales);
    }
}
