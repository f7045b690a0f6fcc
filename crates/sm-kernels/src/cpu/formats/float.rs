//! F32, F16 and BF16, packed: values as in the file, `[cols][16]`, and BF16 in pairs of columns, `[cols / 2][16][2]`.
//!
//! A pair of bfloat16 fills a lane as `vdpbf16ps` takes it; where two fused multiply-adds replace that, a shift and a mask
//! take it apart (see `isa/bf16.rs`).

use sm_tensor::DType;

use super::FloatFormat;
use crate::cpu::isa::{Isa, LANES, MIN_BF16};

pub(super) struct F32;
pub(super) struct F16;
/// Pairs of columns; magnitudes below [`MIN_BF16`] become zero.
pub(super) struct Bf16;

impl FloatFormat for F32 {
    const DTYPE: DType = DType::F32;
    const COLS: usize = 1;
    type Value = f32;

    #[inline(always)]
    fn load<I: Isa>(isa: I, values: &[f32; LANES], _column: usize) -> I::F32 {
        isa.load(values)
    }
}

impl FloatFormat for F16 {
    const DTYPE: DType = DType::F16;
    const COLS: usize = 1;
    type Value = u16;

    #[inline(always)]
    fn load<I: Isa>(isa: I, values: &[u16; LANES], _column: usize) -> I::F32 {
        isa.load_f16(values)
    }
}

impl FloatFormat for Bf16 {
    const DTYPE: DType = DType::Bf16;
    const COLS: usize = 2;
    type Value = [u16; 2];

    #[inline(always)]
    fn load<I: Isa>(isa: I, values: &[[u16; 2]; LANES], column: usize) -> I::F32 {
        let pairs = isa.load_bytes(bytemuck::cast_ref(values));
        if column == 0 { isa.even_bf16(pairs) } else { isa.odd_bf16(pairs) }
    }
    #[inline(always)]
    fn pack(values: [u16; 2]) -> [u16; 2] {
        values.map(
            #[inline(always)]
            |bits| if bits & 0x7fff < (MIN_BF16.to_bits() >> 16) as u16 { 0 } else { bits },
        )
    }
}
