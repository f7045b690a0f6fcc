//! Q4_0, packed: `scale * (code - 8)`, codes of 4 bits.
//!
//! ```text
//! block = 2 segments × 16 rows, 576 bytes, as in the file
//! codes   [2][4][64]: quad q in the low nibbles of vector q, quad q + 4 in the high ones
//! scales  [2][16] f16
//! ```
//!
//! Two segments to a block: the scales of one are half a cache line.

use bytemuck::{Pod, Zeroable};

use super::{FileBlock, Kind, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q4_0;

/// Two segments; IQ4_NL packs into it too.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    pub(super) codes: [[[u8; 64]; 4]; 2],
    pub(super) scales: [[u16; LANES]; 2],
}

/// Packs a file block of an f16 scale and 16 bytes of nibbles.
#[inline(always)]
pub(super) fn pack(file_block: &[u8], lane: usize, segment: usize, block: &mut Block) {
    planes::pack4(&planes::file_codes4(&file_block[2..]), lane, &mut block.codes[segment]);
    block.scales[segment][lane] = read_u16(file_block, 0);
}

impl QuantFormat for Q4_0 {
    type Block = Block;
    const SEGMENTS: usize = 2;
    type Kind = Kind<1, false, 4>;
    const OFFSET: i32 = 8;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, segment: usize, block: &mut Block) {
        pack(file_block.bytes, lane, segment, block);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        planes::unpack4(isa, &block.codes[segment], quad)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[segment])
    }
}
