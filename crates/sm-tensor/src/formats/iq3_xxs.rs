//! IQ3_XXS: groups of 4 values from a grid of 256, 7 bits of signs per 8 values, and a scale of 4 bits per 32.
//!
//! ```text
//! bytes 0..2     d (f16)
//! bytes 2..66    the 64 positions in the grid
//! bytes 66..98   a u32 per 32 values: four times 7 signs, then the scale
//!
//! value = ± d / 4 * (2 * scale + 1) * {4, 12, 20, 28, 36, 44, 52, 62}
//! ```
//!
//! Source: `block_iq3_xxs` and `dequantize_row_iq3_xxs` of ggml (llama.cpp pull request 5196).

use half::f16;

use super::grids::{IQ3_XXS_GRID, even_signs, indices_of_4, signed_table};
use super::indexed::{Indexed, IndexedBlock};
use crate::DType;

pub(super) struct Iq3Xxs;

impl Indexed<98> for Iq3Xxs {
    const DTYPE: DType = DType::Iq3Xxs;
    const UNIT: f32 = 0.25;
    const TABLE: [i8; 16] = signed_table([4, 12, 20, 28, 36, 44, 52, 62]);

    fn unpack(block: &[u8; 98], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[0], block[1]]);
        for (idx, bytes) in block[66..].as_chunks::<4>().0.iter().enumerate() {
            let signs_and_scale = u32::from_le_bytes(*bytes);
            unpacked.set_scale_of_32(idx, (2 * (signs_and_scale >> 28) + 1) as i8);
            let groups = unpacked.indices.as_chunks_mut::<4>().0;
            for (k, indices) in groups[8 * idx..][..8].iter_mut().enumerate() {
                let signs = even_signs(signs_and_scale >> (7 * (k / 2))) >> (k % 2 * 4);
                *indices = indices_of_4(IQ3_XXS_GRID[usize::from(block[2 + 8 * idx + k])], signs);
            }
        }
    }
}
