//! Q5_K, packed: `d * scale * code - d_min * min`, codes of 5 bits, a scale and a minimum of 6 bits for each 32
//! columns.
//!
//! ```text
//! block = 8 segments × 16 rows, 2880 bytes; 2816 in the file
//! low        [8][4][64]: 4 low bits, as Q4_0
//! fifth      [8][64]: bit q of a byte belongs to quad q
//! scales     [8][16] u8
//! mins       [8][16] u8
//! d, d_min   [16] f16
//! ```

use bytemuck::{Pod, Zeroable};
use sm_tensor::unpack_k_scales;

use super::q4_k::file_codes;
use super::{FileBlock, Kind, QuantFormat, k_scales, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q5K;

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    low: [[[u8; 64]; 4]; 8],
    fifth: [[u8; 64]; 8],
    scales: [[u8; LANES]; 8],
    mins: [[u8; LANES]; 8],
    d: [u16; LANES],
    d_min: [u16; LANES],
}

impl QuantFormat for Q5K {
    type Block = Block;
    const SEGMENTS: usize = 8;
    type Kind = Kind<1, true, 5>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, _segment: usize, block: &mut Block) {
        block.d[lane] = read_u16(file_block.bytes, 0);
        block.d_min[lane] = read_u16(file_block.bytes, 2);
        let (scales, mins) = unpack_k_scales(&file_block.bytes[4..16]);
        for segment in 0..8 {
            block.scales[segment][lane] = scales[segment];
            block.mins[segment][lane] = mins[segment];
            planes::pack4(&file_codes(&file_block.bytes[48..], segment), lane, &mut block.low[segment]);
            planes::pack1(
                &planes::shift_right(&file_block.bytes[16..], segment),
                lane,
                &mut block.fifth[segment],
            );
        }
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        let low = planes::unpack4(isa, &block.low[segment], quad);
        isa.or_bytes(low, planes::unpack1(isa, &block.fifth[segment], quad, 4))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        k_scales::unsigned(isa, &block.d, &block.scales[segment])
    }
    #[inline(always)]
    fn mins<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        k_scales::unsigned(isa, &block.d_min, &block.mins[segment])
    }
}
