//! Q1_0, packed: `scale * (code - 1)`, codes 0 and 2, of which one bit is stored.
//!
//! ```text
//! block = 8 segments × 16 rows, 576 bytes, as in the file
//! bits    [8][64]: bit q of a byte belongs to quad q
//! scales  [2][16] f16, one for each 4 segments
//! ```

use bytemuck::{Pod, Zeroable};

use super::{FileBlock, Kind, QuantFormat, SEGMENT_LEN, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q1_0;

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    bits: [[u8; 64]; 8],
    scales: [[u16; LANES]; 2],
}

impl QuantFormat for Q1_0 {
    type Block = Block;
    const SEGMENTS: usize = 8;
    type Kind = Kind<1, false, 2>;
    const OFFSET: i32 = 1;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, segment: usize, block: &mut Block) {
        for (bytes, bits) in file_block.bytes[2..].as_chunks::<4>().0.iter().zip(&mut block.bits[segment..]) {
            let mut codes = [0; SEGMENT_LEN];
            for (j, code) in codes.iter_mut().enumerate() {
                *code = bytes[j / 8] >> (j % 8) & 1;
            }
            planes::pack1(&codes, lane, bits);
        }
        block.scales[segment / 4][lane] = read_u16(file_block.bytes, 0);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        planes::unpack1(isa, &block.bits[segment], quad, 1)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[segment / 4])
    }
}
