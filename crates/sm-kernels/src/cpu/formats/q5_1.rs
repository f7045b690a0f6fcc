//! Q5_1: `scale * code + m`, codes of 5 bits; the minimum is `-m`.

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use super::q4_1::F16_SIGN;
use super::{Codes, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q5_1;

/// Two units.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    low: [[[u8; 64]; 4]; 2],
    fifth: [[u8; 64]; 2],
    scales: [[u16; LANES]; 2],
    mins: [[u16; LANES]; 2],
}

impl QuantFormat for Q5_1 {
    const DTYPE: DType = DType::Q5_1;
    type Block = Block;
    const UNITS: usize = 2;
    type Kind = Codes<1, true, 5>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, unit: usize, block: &mut Block) {
        let codes = planes::file_fives(&file_block[4..8], &file_block[8..]);
        planes::put_nibbles(&codes, lane, &mut block.low[unit]);
        planes::put_bits(&codes.map(|code| code >> 4), lane, &mut block.fifth[unit]);
        block.scales[unit][lane] = read_u16(file_block, 0);
        block.mins[unit][lane] = read_u16(file_block, 2) ^ F16_SIGN;
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        let low = planes::nibbles(isa, &block.low[unit], quad);
        isa.or_bytes(low, planes::bits(isa, &block.fifth[unit], quad, 4))
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
