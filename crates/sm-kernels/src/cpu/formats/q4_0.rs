//! Q4_0: `scale * (code - 8)`, codes of 4 bits.

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use super::{Codes, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q4_0;

/// Two units; also what IQ4_NL packs into.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    pub(super) codes: [[[u8; 64]; 4]; 2],
    pub(super) scales: [[u16; LANES]; 2],
}

/// Packs an f16 scale and 16 bytes of nibbles.
#[inline(always)]
pub(super) fn pack(file_block: &[u8], lane: usize, unit: usize, block: &mut Block) {
    planes::put_nibbles(&planes::file_nibbles(&file_block[2..]), lane, &mut block.codes[unit]);
    block.scales[unit][lane] = read_u16(file_block, 0);
}

impl QuantFormat for Q4_0 {
    const DTYPE: DType = DType::Q4_0;
    type Block = Block;
    const UNITS: usize = 2;
    type Kind = Codes<1, false, 4>;
    const OFFSET: i32 = 8;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, unit: usize, block: &mut Block) {
        pack(file_block, lane, unit, block);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        planes::nibbles(isa, &block.codes[unit], quad)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, unit: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[unit])
    }
}
