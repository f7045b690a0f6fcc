//! IQ2_XXS: groups of 8 values from a grid of 256, 7 bits of signs per group, and a scale of 4 bits per 32.
//!
//! ```text
//! bytes 0..2    d (f16)
//! bytes 2..66   8 bytes per 32 values: four positions in the grid, then a u32 of four times 7 signs and the scale
//!
//! value = ± d / 8 * (2 * scale + 1) * {8, 25, 43}
//! ```
//!
//! Source: `block_iq2_xxs` and `dequantize_row_iq2_xxs` of ggml (llama.cpp pull request 4773).

use half::f16;

use super::grids::{IQ2_XXS_GRID, even_signs, indices_of_8, signed_table};
use super::indexed::{Indexed, IndexedBlock};
use crate::DType;

/// The values of all types of 2 bits.
pub(super) const TABLE: [i8; 16] = signed_table([8, 25, 43]);

pub(super) struct Iq2Xxs;

impl Indexed<66> for Iq2Xxs {
    const DTYPE: DType = DType::Iq2Xxs;
    const UNIT: f32 = 0.125;
    const TABLE: [i8; 16] = TABLE;

    fn unpack(block: &[u8; 66], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[0], block[1]]);
        for (idx, bytes) in block[2..].as_chunks::<8>().0.iter().enumerate() {
            let [positions @ .., a, b, c, d] = *bytes;
            let signs_and_scale = u32::from_le_bytes([a, b, c, d]);
            unpacked.set_scale_of_32(idx, (2 * (signs_and_scale >> 28) + 1) as i8);
            let groups = unpacked.indices.as_chunks_mut::<8>().0;
            for (k, (indices, position)) in groups[4 * idx..].iter_mut().zip(positions).enumerate() {
                let signs = even_signs(signs_and_scale >> (7 * k));
                *indices = indices_of_8(IQ2_XXS_GRID[usize::from(position)], signs);
            }
        }
    }
}

/// Unpacks 16 scales of 4 bits, as the other types of 2 bits have them.
pub(super) fn unpack_scales(packed: &[u8], scales: &mut [i8; 16]) {
    for (idx, scale) in scales.iter_mut().enumerate() {
        let code = packed[idx / 2] >> (idx % 2 * 4) & 15;
        *scale = (2 * code + 1).cast_signed();
    }
}
