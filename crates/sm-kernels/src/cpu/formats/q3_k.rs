//! Q3_K: `d * scale * (code - 4)`, codes of 3 bits, a signed scale of 6 bits per 16.

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use super::{Codes, QuantFormat, k_scales, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q3K;

/// Eight units.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    low: [[[u8; 64]; 2]; 8],
    third: [[u8; 64]; 8],
    scales: [[i8; LANES]; 16],
    d: [u16; LANES],
    /// To whole cache lines.
    padding: [u16; LANES],
}

impl QuantFormat for Q3K {
    const DTYPE: DType = DType::Q3K;
    type Block = Block;
    const UNITS: usize = 8;
    type Kind = Codes<2, false, 3>;
    const OFFSET: i32 = 4;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, _unit: usize, block: &mut Block) {
        for unit in 0..8 {
            let low = planes::shift_right(&file_block[32 + unit / 4 * 32..], unit % 4 * 2);
            let third = planes::shift_right(file_block, unit);
            planes::put_pairs(&low, lane, &mut block.low[unit]);
            planes::put_bits(&third, lane, &mut block.third[unit]);
        }
        let packed = &file_block[96..108];
        for (group, scales) in block.scales.iter_mut().enumerate() {
            let low = packed[group % 8] >> (group / 8 * 4) & 15;
            let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
            scales[lane] = (low | high << 4).cast_signed() - 32;
        }
        block.d[lane] = read_u16(file_block, 108);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        let low = planes::pairs(isa, &block.low[unit], quad, 0);
        isa.or_bytes(low, planes::bits(isa, &block.third[unit], quad, 2))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, unit: usize, group: usize) -> I::F32 {
        k_scales::signed(isa, &block.d, &block.scales[2 * unit + group])
    }
}
