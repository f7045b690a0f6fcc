//! Q4_1, packed: `scale * code - min`, codes of 4 bits; `min` is the file's with the sign changed.
//!
//! ```text
//! block = 2 segments × 16 rows, 640 bytes, as in the file
//! codes   [2][4][64], as Q4_0
//! scales  [2][16] f16
//! mins    [2][16] f16
//! ```

use bytemuck::{Pod, Zeroable};

use super::{FileBlock, Kind, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q4_1;

/// Two segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 4]; 2],
    scales: [[u16; LANES]; 2],
    mins: [[u16; LANES]; 2],
}

/// The sign bit of an f16.
pub(super) const F16_SIGN: u16 = 0x8000;

impl QuantFormat for Q4_1 {
    type Block = Block;
    const SEGMENTS: usize = 2;
    type Kind = Kind<1, true, 4>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, segment: usize, block: &mut Block) {
        planes::pack4(&planes::file_codes4(&file_block.bytes[4..]), lane, &mut block.codes[segment]);
        block.scales[segment][lane] = read_u16(file_block.bytes, 0);
        block.mins[segment][lane] = read_u16(file_block.bytes, 2) ^ F16_SIGN;
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        planes::unpack4(isa, &block.codes[segment], quad)
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
