//! Q3_K, packed: `d * scale * (code - 4)`, codes of 3 bits, a signed scale of 6 bits for each 16 columns.
//!
//! ```text
//! block = 8 segments × 16 rows, 1856 bytes; 1760 in the file
//! low      [8][2][64]: 2 low bits, as Q2_K
//! third    [8][64]: bit q of a byte belongs to quad q
//! scales   [16 groups][16] i8
//! d        [16] f16
//! padding
//! ```
//!
//! Scales are unpacked to bytes: 5 % more to read, and none of the shifts and masks that would take their 6 bits apart
//! in every product.

use bytemuck::{Pod, Zeroable};

use super::{FileBlock, Kind, QuantFormat, k_scales, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q3K;

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    low: [[[u8; 64]; 2]; 8],
    third: [[u8; 64]; 8],
    scales: [[i8; LANES]; 16],
    d: [u16; LANES],
    /// Pads to whole cache lines.
    padding: [u16; LANES],
}

impl QuantFormat for Q3K {
    type Block = Block;
    const SEGMENTS: usize = 8;
    type Kind = Kind<2, false, 3>;
    const OFFSET: i32 = 4;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, _segment: usize, block: &mut Block) {
        for segment in 0..8 {
            let low = planes::shift_right(&file_block.bytes[32 + segment / 4 * 32..], segment % 4 * 2);
            let third = planes::shift_right(file_block.bytes, segment);
            planes::pack2(&low, lane, &mut block.low[segment]);
            planes::pack1(&third, lane, &mut block.third[segment]);
        }
        let packed = &file_block.bytes[96..108];
        for (group, scales) in block.scales.iter_mut().enumerate() {
            let low = packed[group % 8] >> (group / 8 * 4) & 15;
            let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
            scales[lane] = (low | high << 4).cast_signed() - 32;
        }
        block.d[lane] = read_u16(file_block.bytes, 108);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        let low = planes::unpack2(isa, &block.low[segment], quad, 0);
        isa.or_bytes(low, planes::unpack1(isa, &block.third[segment], quad, 2))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, group: usize) -> I::F32 {
        k_scales::signed(isa, &block.d, &block.scales[2 * segment + group])
    }
}
