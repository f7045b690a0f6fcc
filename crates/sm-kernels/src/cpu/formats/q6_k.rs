//! Q6_K: `d * scale * (code - 32)`, codes of 6 bits, a scale of 8 bits per 16.

use bytemuck::{Pod, Zeroable};
use sm_tensor::DType;

use super::{Codes, QuantFormat, k_scales, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q6K;

/// Eight units.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    low: [[[u8; 64]; 4]; 8],
    high: [[[u8; 64]; 2]; 8],
    scales: [[i8; LANES]; 16],
    d: [u16; LANES],
    /// To whole cache lines.
    padding: [u16; LANES],
}

impl QuantFormat for Q6K {
    const DTYPE: DType = DType::Q6K;
    type Block = Block;
    const UNITS: usize = 8;
    type Kind = Codes<2, false, 6>;
    const OFFSET: i32 = 32;

    #[inline(always)]
    fn pack(file_block: &[u8], lane: usize, _unit: usize, block: &mut Block) {
        for unit in 0..8 {
            let half = unit / 4;
            let quarter = unit % 4;
            let low = planes::shift_right(&file_block[half * 64 + quarter % 2 * 32..], quarter / 2 * 4);
            let high = planes::shift_right(&file_block[128 + half * 32..], quarter * 2);
            planes::put_nibbles(&low, lane, &mut block.low[unit]);
            planes::put_pairs(&high, lane, &mut block.high[unit]);
        }
        for (group, scales) in block.scales.iter_mut().enumerate() {
            scales[lane] = file_block[192 + group].cast_signed();
        }
        block.d[lane] = read_u16(file_block, 208);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, unit: usize, quad: usize) -> I::Bytes {
        let low = planes::nibbles(isa, &block.low[unit], quad);
        isa.or_bytes(low, planes::pairs(isa, &block.high[unit], quad, 4))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, unit: usize, group: usize) -> I::F32 {
        k_scales::signed(isa, &block.d, &block.scales[2 * unit + group])
    }
}
