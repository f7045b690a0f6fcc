//! IQ4_NL, packed: `scale * (TABLE[index] - 128)`, indices of 4 bits; the code is the table's signed byte plus 128.
//!
//! ```text
//! block = 2 segments × 16 rows, 576 bytes, as Q4_0
//! ```
//!
//! Indices stay packed and are looked up in registers (`vpshufb`), so that decoding reads 4 bits per weight; the
//! product is then that of 8-bit codes.

use super::q4_0::{self, Block};
use super::{FileBlock, Kind, QuantFormat, planes, unsigned_table};
use crate::cpu::isa::Isa;

pub(super) struct Iq4Nl;

const TABLE: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const CODES: [u8; 16] = unsigned_table(&TABLE, 128);

impl QuantFormat for Iq4Nl {
    type Block = Block;
    const SEGMENTS: usize = 2;
    type Kind = Kind<1, false, 8>;
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, segment: usize, block: &mut Block) {
        q4_0::pack(file_block.bytes, lane, segment, block);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        isa.lookup(&CODES, planes::unpack4(isa, &block.codes[segment], quad))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales[segment])
    }
}
