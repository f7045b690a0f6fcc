//! IQ1_S: groups of 8 values from a grid of 2048 of -1, 0 and 1, and a shift and a scale of 3 bits per 32.
//!
//! ```text
//! bytes 0..2     d (f16)
//! bytes 2..34    8 low bits of the 32 positions in the grid
//! bytes 34..50   a u16 per 32 values: 3 high bits of four positions, the scale, 1 if the shift is negative
//!
//! value = d * (2 * scale + 1) * (grid ± 1/8) = d / 8 * (2 * scale + 1) * (8 * grid ± 1)
//! ```
//!
//! Source: `block_iq1_s` and `dequantize_row_iq1_s` of ggml (llama.cpp pull requests 5453 and 5999).

use half::f16;

use super::grids::{IQ1_GRID, indices_of_8};
use super::indexed::{Indexed, IndexedBlock};
use crate::DType;

/// `8 * grid + 1`, from the ninth entry on `8 * grid - 1`.
pub(super) const TABLE: [i8; 16] = [-7, 1, 9, 0, 0, 0, 0, 0, -9, -1, 7, 0, 0, 0, 0, 0];

pub(super) struct Iq1S;

impl Indexed<50> for Iq1S {
    const DTYPE: DType = DType::Iq1S;
    const UNIT: f32 = 0.125;
    const TABLE: [i8; 16] = TABLE;

    fn unpack(block: &[u8; 50], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[0], block[1]]);
        for (idx, bytes) in block[34..].as_chunks::<2>().0.iter().enumerate() {
            let bits = u16::from_le_bytes(*bytes);
            unpacked.set_scale_of_32(idx, (2 * (bits >> 12 & 7) + 1) as i8);
            let groups = unpacked.indices.as_chunks_mut::<8>().0;
            for (k, indices) in groups[4 * idx..][..4].iter_mut().enumerate() {
                let high = usize::from(bits >> (3 * k) & 7);
                let position = usize::from(block[2 + 4 * idx + k]) | high << 8;
                *indices = shifted(position, bits & 0x8000 != 0);
            }
        }
    }
}

/// The indices of a group, by its position in the grid and the sign of its shift.
pub(super) fn shifted(position: usize, is_negative: bool) -> [u8; 8] {
    indices_of_8(IQ1_GRID[position], if is_negative { 0xff } else { 0 })
}
