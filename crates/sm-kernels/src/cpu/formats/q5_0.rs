//! Q5_0: `scale * (code - 16)`, codes of 5 bits.

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use super::{Codes, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q5_0;

/// Two units.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    low: [[[u8; 64]; 4]; 2],
    fifth: [[u8; 64]; 2],
    scales: [[u16; LANES]; 2],
}

impl QuantFormat for Q5_0 {
    const DTYPE: DType = DType::Q5_0;
    type Block = Block;
    const UNITS: usize = 2;
    type Kind = Codes<1, false, 5>;
    const OFFSET: i32 = 16;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, unit: usize, block: &mut Block) {
        let codes = planes::file_fives(&file_block[2..6], &file_block[6..]);
        planes::put_nibbles(&codes, lane, &mut block.low[unit]);
        planes::put_bits(&codes.map(|code| code >> 4), lane, &mut block.fifth[unit]);
        block.scales[unit][lane] = read_u16(file_block, 0);
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
}
