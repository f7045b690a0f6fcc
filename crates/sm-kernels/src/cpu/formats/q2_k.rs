//! Q2_K: `d * scale * code - d_min * min`, codes of 2 bits, a scale and a minimum of 4 bits per 16.

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use super::{Codes, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q2K;

/// Eight units.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 2]; 8],
    /// Scale below minimum.
    scales: [[u8; LANES]; 16],
    d: [u16; LANES],
    d_min: [u16; LANES],
}

impl QuantFormat for Q2K {
    const DTYPE: DType = DType::Q2K;
    type Block = Block;
    const UNITS: usize = 8;
    type Kind = Codes<2, true, 2>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, _unit: usize, block: &mut Block) {
        for unit in 0..8 {
            let codes = planes::shift_right(&file_block[16 + unit / 4 * 32..], unit % 4 * 2);
            planes::put_pairs(&codes, lane, &mut block.codes[unit]);
        }
        for (group, scales) in block.scales.iter_mut().enumerate() {
            scales[lane] = file_block[group];
        }
        block.d[lane] = read_u16(file_block, 80);
        block.d_min[lane] = read_u16(file_block, 82);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        planes::pairs(isa, &block.codes[unit], quad, 0)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, unit: usize, group: usize) -> I::F32 {
        let scales = isa.and_i32(isa.load_u8(&block.scales[2 * unit + group]), 15);
        isa.mul(isa.load_f16(&block.d), isa.to_f32(scales))
    }
    #[inline(always)]
    fn mins<I: Isa>(isa: I, block: &Block, unit: usize, group: usize) -> I::F32 {
        let mins = isa.shr_i32(isa.load_u8(&block.scales[2 * unit + group]), 4);
        isa.mul(isa.load_f16(&block.d_min), isa.to_f32(mins))
    }
}
