//! Q5_1, packed: `scale * code - min`, codes of 5 bits; `min` is the file's with the sign changed.
//!
//! ```text
//! block = 2 segments × 16 rows, 768 bytes, as in the file
//! low     [2][4][64]: 4 low bits, as Q4_0
//! fifth   [2][64]: bit q of a byte belongs to quad q
//! scales  [2][16] f16
//! mins    [2][16] f16
//! ```

use bytemuck::{Pod, Zeroable};

use super::q4_1::F16_SIGN;
use super::{FileBlock, Kind, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q5_1;

/// Two segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    low: [[[u8; 64]; 4]; 2],
    fifth: [[u8; 64]; 2],
    scales: [[u16; LANES]; 2],
    mins: [[u16; LANES]; 2],
}

impl QuantFormat for Q5_1 {
    type Block = Block;
    const SEGMENTS: usize = 2;
    type Kind = Kind<1, true, 5>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, segment: usize, block: &mut Block) {
        let codes = planes::file_codes5(&file_block.bytes[4..8], &file_block.bytes[8..]);
        planes::pack4(&codes, lane, &mut block.low[segment]);
        planes::pack1(&codes.map(|code| code >> 4), lane, &mut block.fifth[segment]);
        block.scales[segment][lane] = read_u16(file_block.bytes, 0);
        block.mins[segment][lane] = read_u16(file_block.bytes, 2) ^ F16_SIGN;
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        let low = planes::unpack4(isa, &block.low[segment], quad);
        isa.or_bytes(low, planes::unpack1(isa, &block.fifth[segment], quad, 4))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[segment])
    }
    #[inline(always)]
    fn mins<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.mins[segment])
    }
}
