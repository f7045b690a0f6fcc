//! Q4_1: `scale * code + m`, codes of 4 bits; the minimum is `-m`.

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use super::{Codes, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q4_1;

/// Two units.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 4]; 2],
    scales: [[u16; LANES]; 2],
    mins: [[u16; LANES]; 2],
}

/// The sign bit of a half-precision number.
pub(super) const F16_SIGN: u16 = 0x8000;

impl QuantFormat for Q4_1 {
    const DTYPE: DType = DType::Q4_1;
    type Block = Block;
    const UNITS: usize = 2;
    type Kind = Codes<1, true, 4>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, unit: usize, block: &mut Block) {
        planes::put_nibbles(&planes::file_nibbles(&file_block[4..]), lane, &mut block.codes[unit]);
        block.scales[unit][lane] = read_u16(file_block, 0);
        block.mins[unit][lane] = read_u16(file_block, 2) ^ F16_SIGN;
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        planes::nibbles(isa, &block.codes[unit], quad)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, unit: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[unit])
    }
    #[inline(always)]
    fn mins<I: Isa>(isa: I, block: &Block, unit: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.mins[unit])
    }
}
