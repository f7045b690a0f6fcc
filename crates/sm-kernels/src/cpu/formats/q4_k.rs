//! Q4_K: `d * scale * code - d_min * min`, codes of 4 bits, a scale and a minimum of 6 bits per 32.

use bytemuck::{Pod, Zeroable};
use sm_tensor::{DType, unpack_k_scales};

use super::{Codes, QuantFormat, UNIT_LEN, k_scales, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q4K;

/// Eight units.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 4]; 8],
    scales: [[u8; LANES]; 8],
    mins: [[u8; LANES]; 8],
    d: [u16; LANES],
    d_min: [u16; LANES],
}

/// The 4-bit codes of a unit in a Q4_K or Q5_K block, with whatever is above them: of each 64 columns byte `j` holds `j`
/// below `j + 32`.
#[inline(always)]
pub(super) fn file_codes(bytes: &[u8], unit: usize) -> [u8; UNIT_LEN] {
    planes::shift_right(&bytes[unit / 2 * 32..], unit % 2 * 4)
}

impl QuantFormat for Q4K {
    const DTYPE: DType = DType::Q4K;
    type Block = Block;
    const UNITS: usize = 8;
    type Kind = Codes<1, true, 4>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, _unit: usize, block: &mut Block) {
        block.d[lane] = read_u16(file_block, 0);
        block.d_min[lane] = read_u16(file_block, 2);
        let (scales, mins) = unpack_k_scales(&file_block[4..16]);
        for unit in 0..8 {
            block.scales[unit][lane] = scales[unit];
            block.mins[unit][lane] = mins[unit];
            planes::put_nibbles(&file_codes(&file_block[16..], unit), lane, &mut block.codes[unit]);
        }
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        planes::nibbles(isa, &block.codes[unit], quad)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, unit: usize, _group: usize) -> I::F32 {
        k_scales::unsigned(isa, &block.d, &block.scales[unit])
    }
    #[inline(always)]
    fn mins<I: Isa>(isa: I, block: &Block, unit: usize, _group: usize) -> I::F32 {
        k_scales::unsigned(isa, &block.d_min, &block.mins[unit])
    }
}
