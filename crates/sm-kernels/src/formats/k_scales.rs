//! The scales of super-blocks: small integers times one half-precision number per row.

use crate::isa::{Isa, LANES};

/// `d * code`
#[inline(always)]
pub(super) fn unsigned<I: Isa>(isa: I, d: &[u16; LANES], codes: &[u8; LANES]) -> I::F32 {
    isa.mul(isa.load_f16(d), isa.to_f32(isa.load_u8(codes)))
}

/// `d * code`
#[inline(always)]
pub(super) fn signed<I: Isa>(isa: I, d: &[u16; LANES], codes: &[i8; LANES]) -> I::F32 {
    isa.mul(isa.load_f16(d), isa.to_f32(isa.load_i8(codes)))
}

/// Eight 6-bit scales and eight 6-bit minima from 12 bytes of a Q4_K or Q5_K block.
pub(super) fn six_bit(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut mins) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = packed[j + 8] & 15 | packed[j] >> 6 << 4;
        mins[j + 4] = packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4;
    }
    (scales, mins)
}
