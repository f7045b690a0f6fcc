//! Q4_K, packed: `d * scale * code - d_min * min`, codes of 4 bits, a scale and a minimum of 6 bits for each 32
//! columns.
//!
//! ```text
//! block = 8 segments × 16 rows, 2368 bytes; 2304 in the file
//! codes      [8][4][64], as Q4_0
//! scales     [8][16] u8
//! mins       [8][16] u8
//! d, d_min   [16] f16
//! ```
//!
//! Scales and minima are unpacked to bytes, which adds 3 % to what is read.

use bytemuck::{Pod, Zeroable};
use sm_tensor::unpack_k_scales;

use super::{FileBlock, Kind, QuantFormat, SEGMENT_LEN, k_scales, planes, read_u16};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Q4K;

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 4]; 8],
    scales: [[u8; LANES]; 8],
    mins: [[u8; LANES]; 8],
    d: [u16; LANES],
    d_min: [u16; LANES],
}

/// The 4-bit codes of a segment of a Q4_K or Q5_K file block: of each 64 columns byte `j` holds code `j` below code `j
/// + 32`, so for even segments the high bits belong to another code.
#[inline(always)]
pub(super) fn file_codes(bytes: &[u8], segment: usize) -> [u8; SEGMENT_LEN] {
    planes::shift_right(&bytes[segment / 2 * 32..], segment % 2 * 4)
}

impl QuantFormat for Q4K {
    type Block = Block;
    const SEGMENTS: usize = 8;
    type Kind = Kind<1, true, 4>;
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, _segment: usize, block: &mut Block) {
        block.d[lane] = read_u16(file_block.bytes, 0);
        block.d_min[lane] = read_u16(file_block.bytes, 2);
        let (scales, mins) = unpack_k_scales(&file_block.bytes[4..16]);
        for segment in 0..8 {
            block.scales[segment][lane] = scales[segment];
            block.mins[segment][lane] = mins[segment];
            planes::pack4(&file_codes(&file_block.bytes[16..], segment), lane, &mut block.codes[segment]);
        }
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        planes::unpack4(isa, &block.codes[segment], quad)
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
