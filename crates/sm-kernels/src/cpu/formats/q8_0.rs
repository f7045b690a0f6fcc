//! Q8_0, packed: `scale * (code - 128)`; the code is the signed byte of the file plus 128.
//!
//! ```text
//! block = 2 segments × 16 rows, 1088 bytes, as in the file
//! codes   [2][8 quads][64]
//! scales  [2][16] f16
//! ```
//!
//! Unsigned codes suit `vpdpbusd`; the 128 is subtracted through the sum of the activations, or by [`Isa::DOT_OFFSET`]
//! where signed bytes multiply faster. Two segments to a block: the scales of one are half a cache line.

use bytemuck::{Pod, Zeroable};

use super::{FileBlock, Kind, QuantFormat, SEGMENT_LEN, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q8_0;

/// Two segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 8]; 2],
    scales: [[u16; LANES]; 2],
}

impl QuantFormat for Q8_0 {
    type Block = Block;
    const SEGMENTS: usize = 2;
    type Kind = Kind<1, false, 8>;
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, segment: usize, block: &mut Block) {
        let mut codes: [u8; SEGMENT_LEN] = *file_block.bytes[2..].first_chunk().expect("32 codes");
        codes.iter_mut().for_each(|code| *code ^= 0x80);
        planes::pack8(&codes, lane, &mut block.codes[segment]);
        block.scales[segment][lane] = read_u16(file_block.bytes, 0);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        isa.load_bytes(&block.codes[segment][quad])
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[segment])
    }
}
