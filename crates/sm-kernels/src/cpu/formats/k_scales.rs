//! Scales of super-blocks: `d * code`, an f16 per row times an integer of up to 8 bits.
//!
//! The product has at most 19 significant bits, so it is exact in `f32` and a scale has the bits that the file's format
//! gives. It is computed anew for each segment, since `f32` scales would be four times the bytes to read.

use crate::cpu::isa::{Isa, LANES};

/// `d * code`, unsigned codes.
#[inline(always)]
pub(super) fn unsigned<I: Isa>(isa: I, d: &[u16; LANES], codes: &[u8; LANES]) -> I::F32 {
    isa.mul(isa.load_f16(d), isa.to_f32(isa.load_u8(codes)))
}

/// `d * code`, signed codes.
#[inline(always)]
pub(super) fn signed<I: Isa>(isa: I, d: &[u16; LANES], codes: &[i8; LANES]) -> I::F32 {
    isa.mul(isa.load_f16(d), isa.to_f32(isa.load_i8(codes)))
}
