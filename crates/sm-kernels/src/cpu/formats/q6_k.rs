//! Q6_K, packed: `d * scale * (code - 32)`, codes of 6 bits, a signed scale of 8 bits for each 16 columns.
//!
//! ```text
//! block = 8 segments × 16 rows, 3392 bytes; 3360 in the file
//! low      [8][4][64]: 4 low bits, as Q4_0
//! high     [8][2][64]: 2 high bits, as Q2_K
//! scales   [16 groups][16] i8
//! d        [16] f16
//! padding
//! ```

use bytemuck::{Pod, Zeroable};

use super::{FileBlock, Kind, QuantFormat, k_scales, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q6K;

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    low: [[[u8; 64]; 4]; 8],
    high: [[[u8; 64]; 2]; 8],
    scales: [[i8; LANES]; 16],
    d: [u16; LANES],
    /// Pads to whole cache lines.
    padding: [u16; LANES],
}

impl QuantFormat for Q6K {
    type Block = Block;
    const SEGMENTS: usize = 8;
    type Kind = Kind<2, false, 6>;
    const OFFSET: i32 = 32;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, _segment: usize, block: &mut Block) {
        for segment in 0..8 {
            let half = segment / 4;
            let quarter = segment % 4;
            let low = planes::shift_right(&file_block.bytes[half * 64 + quarter % 2 * 32..], quarter / 2 * 4);
            let high = planes::shift_right(&file_block.bytes[128 + half * 32..], quarter * 2);
            planes::pack4(&low, lane, &mut block.low[segment]);
            planes::pack2(&high, lane, &mut block.high[segment]);
        }
        for (group, scales) in block.scales.iter_mut().enumerate() {
            scales[lane] = file_block.bytes[192 + group].cast_signed();
        }
        block.d[lane] = read_u16(file_block.bytes, 208);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        let low = planes::unpack4(isa, &block.low[segment], quad);
        isa.or_bytes(low, planes::unpack2(isa, &block.high[segment], quad, 4))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, group: usize) -> I::F32 {
        k_scales::signed(isa, &block.d, &block.scales[2 * segment + group])
    }
}
