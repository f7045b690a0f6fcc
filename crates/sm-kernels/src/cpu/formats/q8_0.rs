//! Q8_0: `scale * value`, signed bytes; the code is the value + 128.

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use super::{Codes, QuantFormat, UNIT_LEN, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q8_0;

/// Two units.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 8]; 2],
    scales: [[u16; LANES]; 2],
}

impl QuantFormat for Q8_0 {
    const DTYPE: DType = DType::Q8_0;
    type Block = Block;
    const UNITS: usize = 2;
    type Kind = Codes<1, false, 8>;
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, unit: usize, block: &mut Block) {
        let mut codes: [u8; UNIT_LEN] = *file_block[2..].first_chunk().expect("32 codes");
        codes.iter_mut().for_each(|code| *code ^= 0x80);
        planes::put_bytes(&codes, lane, &mut block.codes[unit]);
        block.scales[unit][lane] = read_u16(file_block, 0);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        isa.load_bytes(&block.codes[unit][quad])
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, unit: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[unit])
    }
}
