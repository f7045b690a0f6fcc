//! F32, F16, BF16: values as they are in the file.

use super::FloatFormat;
use crate::isa::{Isa, LANES};

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct Bf16;

impl FloatFormat for F32 {
    type Value = f32;

    #[inline(always)]
    fn load<I: Isa>(isa: I, values: &[f32; LANES]) -> I::F32 {
        isa.load(values)
    }
}

impl FloatFormat for F16 {
    type Value = u16;

    #[inline(always)]
    fn load<I: Isa>(isa: I, values: &[u16; LANES]) -> I::F32 {
        isa.load_f16(values)
    }
}

impl FloatFormat for Bf16 {
    type Value = u16;

    #[inline(always)]
    fn load<I: Isa>(isa: I, values: &[u16; LANES]) -> I::F32 {
        isa.load_bf16(values)
    }
}
