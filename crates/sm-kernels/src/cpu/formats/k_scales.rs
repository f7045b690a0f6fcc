//! The scales of super-blocks: small integers times one half-precision number per row.

use crate::cpu::isa::{Isa, LANES};

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
