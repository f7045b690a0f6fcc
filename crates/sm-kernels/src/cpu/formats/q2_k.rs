//! Q2_K, packed: `d * scale * code - d_min * min`, codes of 2 bits, a scale and a minimum of 4 bits for each 16
//! columns.
//!
//! ```text
//! block = 8 segments × 16 rows, 1344 bytes, as in the file
//! codes      [8][2][64]: quads 4v..4v + 4 in the bit pairs of vector v
//! scales     [16 groups][16]: scale | min << 4
//! d, d_min   [16] f16
//! ```

use bytemuck::{Pod, Zeroable};

use super::{FileBlock, Kind, QuantFormat, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q2K;

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 2]; 8],
    /// `scale | min << 4`
    scales: [[u8; LANES]; 16],
    d: [u16; LANES],
    d_min: [u16; LANES],
}

impl QuantFormat for Q2K {
    type Block = Block;
    const SEGMENTS: usize = 8;
    type Kind = Kind<2, true, 2>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, _segment: usize, block: &mut Block) {
        for segment in 0..8 {
            let codes = planes::shift_right(&file_block.bytes[16 + segment / 4 * 32..], segment % 4 * 2);
            planes::pack2(&codes, lane, &mut block.codes[segment]);
        }
        for (group, scales) in block.scales.iter_mut().enumerate() {
            scales[lane] = file_block.bytes[group];
        }
        block.d[lane] = read_u16(file_block.bytes, 80);
        block.d_min[lane] = read_u16(file_block.bytes, 82);
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        planes::unpack2(isa, &block.codes[segment], quad, 0)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, group: usize) -> I::F32 {
        let scales = isa.and_i32(isa.load_u8(&block.scales[2 * segment + group]), 15);
        isa.mul(isa.load_f16(&block.d), isa.to_f32(scales))
    }
    #[inline(always)]
    fn mins<I: Isa>(isa: I, block: &Block, segment: usize, group: usize) -> I::F32 {
        let mins = isa.shr_i32(isa.load_u8(&block.scales[2 * segment + group]), 4);
        isa.mul(isa.load_f16(&block.d_min), isa.to_f32(mins))
    }
}
