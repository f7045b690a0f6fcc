//! MXFP4, packed: `2^(e - 128) * (TABLE[code] - 16)`, floats of 4 bits, doubled to integers.
//!
//! ```text
//! block = 4 segments × 16 rows, 1088 bytes, as in the file
//! codes      [4][4][64], as Q4_0
//! exponents  [4][16] u8
//! ```
//!
//! The two smallest powers of two are subnormal, so no shift of `e` into the bits of a float gives them all. The product
//! of two powers of half the exponent does, rounded nowhere.

use bytemuck::{Pod, Zeroable};

use super::{FileBlock, Kind, QuantFormat, planes, unsigned_table};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Mxfp4;

const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

const CODES: [u8; 16] = unsigned_table(&VALUES, 16);

/// 2^-64
const HALF_BIAS: f32 = 1.0 / (1_u128 << 64) as f32;

/// Four segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 4]; 4],
    exponents: [[u8; LANES]; 4],
}

impl QuantFormat for Mxfp4 {
    type Block = Block;
    const SEGMENTS: usize = 4;
    type Kind = Kind<1, false, 5>;
    const OFFSET: i32 = 16;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, segment: usize, block: &mut Block) {
        planes::pack4(&planes::file_codes4(&file_block.bytes[1..]), lane, &mut block.codes[segment]);
        block.exponents[segment][lane] = file_block.bytes[0];
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        isa.lookup(&CODES, planes::unpack4(isa, &block.codes[segment], quad))
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, segment: usize, _group: usize) -> I::F32 {
        let exponents = isa.load_u8(&block.exponents[segment]);
        let half = isa.mul(isa.pow2(isa.shr_i32(exponents, 1)), isa.splat(HALF_BIAS));
        let other_half = isa.mul(half, isa.pow2(isa.and_i32(exponents, 1)));
        isa.mul(half, other_half)
    }
}
