//! IQ3_S: groups of 4 values from a grid of 512, a sign bit per value, and a scale of 4 bits per 32.
//!
//! ```text
//! bytes 0..2      d (f16)
//! bytes 2..66     8 low bits of the 64 positions in the grid
//! bytes 66..74    ninth bits: bit k of byte i belongs to group 8 * i + k
//! bytes 74..106   signs, bit i % 8 of byte i / 8
//! bytes 106..110  scales, two to a byte
//!
//! value = ± d * (2 * scale + 1) * {1, 3, 5, …, 15}
//! ```
//!
//! Source: `block_iq3_s` and `dequantize_row_iq3_s` of ggml (llama.cpp pull request 5676).

use half::f16;

use super::grids::{IQ3_S_GRID, indices_of_4, signed_table};
use super::indexed::{Indexed, IndexedBlock};
use crate::DType;

pub(super) struct Iq3S;

impl Indexed<110> for Iq3S {
    const DTYPE: DType = DType::Iq3S;
    const UNIT: f32 = 1.0;
    const TABLE: [i8; 16] = signed_table([1, 3, 5, 7, 9, 11, 13, 15]);

    fn unpack(block: &[u8; 110], unpacked: &mut IndexedBlock) {
        unpacked.d = f16::from_le_bytes([block[0], block[1]]);
        for (group, indices) in unpacked.indices.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let ninth = usize::from(block[66 + group / 8] >> (group % 8) & 1);
            let position = usize::from(block[2 + group]) | ninth << 8;
            let signs = block[74 + group / 2] >> (group % 2 * 4);
            *indices = indices_of_4(IQ3_S_GRID[position], signs);
        }
        for idx in 0..8 {
            let scale = block[106 + idx / 2] >> (idx % 2 * 4) & 15;
            unpacked.set_scale_of_32(idx, (2 * scale + 1).cast_signed());
        }
    }
}
