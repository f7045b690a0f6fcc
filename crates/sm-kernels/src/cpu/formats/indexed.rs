//! IQ4_XS and the types with grids, packed: `d * unit * scale * table[index]`, indices of 4 bits into a table of 16 signed
//! bytes, a scale for each 32 or each 16 columns.
//!
//! ```text
//! block = 8 segments × 16 rows                        Indexed32     Indexed16
//! indices  [8][4][64], as the codes of Q4_0
//! scales   [8 or 16 groups][16] i8
//! head     d [16] f16, table [16], unit f32, padding
//!                                                     2240 bytes    2368 bytes
//! ```
//!
//! | type | bytes in the file | packed in |
//! |---|---|---|
//! | IQ4_XS | 2176 | `Indexed32` |
//! | IQ3_S, IQ3_XXS, IQ2_XXS, IQ1_S | 1760, 1568, 1056, 800 | `Indexed32` |
//! | IQ2_S, IQ2_XS, IQ1_M | 1312, 1184, 896 | `Indexed16` |
//!
//! A grid would have to be looked up in memory, value by value: the 2048 groups of IQ1_S do not fit registers. Unpacked to
//! indices, which lose nothing, these types take up to 2.8 times the memory and are multiplied as fast as IQ4_XS.
//!
//! The table belongs to the block and not to the code, so that eight types share two kernels. `unit` is a power of two: `d
//! / 8` may be too small for an f16.

use bytemuck::{Pod, Zeroable};
use sm_tensor::IndexedBlock;

use super::{FileBlock, Kind, QuantFormat, planes, unsigned_table};
use crate::cpu::isa::{Isa, LANES};

/// A scale for each 32 columns.
pub(super) struct Indexed32;
/// A scale for each 16 columns.
pub(super) struct Indexed16;

/// Indices of a segment.
type Indices = [[u8; 64]; 4];

/// What all segments of a block share.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Head {
    d: [u16; LANES],
    /// The values plus the offset.
    table: [u8; 16],
    unit: f32,
    /// Pads to a cache line.
    padding: [u8; 12],
}

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block32 {
    indices: [Indices; 8],
    scales: [[i8; LANES]; 8],
    head: Head,
}

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block16 {
    indices: [Indices; 8],
    scales: [[i8; LANES]; 16],
    head: Head,
}

impl Head {
    /// Packs all but the scales, which it returns.
    #[inline(always)]
    fn pack(
        &mut self,
        file_block: FileBlock<'_>,
        lane: usize,
        offset: i32,
        indices: &mut [Indices; 8],
    ) -> [i8; 16] {
        let format = file_block.dtype.indexed().expect("a type of indexed values");
        let mut unpacked = IndexedBlock::default();
        format.unpack(file_block.bytes, &mut unpacked);
        for (from, to) in unpacked.indices.as_chunks().0.iter().zip(indices) {
            planes::pack4(from, lane, to);
        }
        self.d[lane] = unpacked.d.to_bits();
        self.table = unsigned_table(&format.table, offset);
        self.unit = format.unit;
        unpacked.scales
    }

    #[inline(always)]
    fn codes<I: Isa>(&self, isa: I, indices: &Indices, quad: usize) -> I::Bytes {
        isa.lookup(&self.table, planes::unpack4(isa, indices, quad))
    }

    #[inline(always)]
    fn scales<I: Isa>(&self, isa: I, scales: &[i8; LANES]) -> I::F32 {
        let d = isa.mul(isa.load_f16(&self.d), isa.splat(self.unit));
        isa.mul(d, isa.to_f32(isa.load_i8(scales)))
    }
}

impl QuantFormat for Indexed32 {
    type Block = Block32;
    const SEGMENTS: usize = 8;
    type Kind = Kind<1, false, 8>;
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, _segment: usize, block: &mut Block32) {
        let scales = block.head.pack(file_block, lane, Self::OFFSET, &mut block.indices);
        for (from, to) in scales.as_chunks::<2>().0.iter().zip(&mut block.scales) {
            to[lane] = from[0];
        }
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block32, segment: usize, quad: usize) -> I::Bytes {
        block.head.codes(isa, &block.indices[segment], quad)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block32, segment: usize, _group: usize) -> I::F32 {
        block.head.scales(isa, &block.scales[segment])
    }
}

impl QuantFormat for Indexed16 {
    type Block = Block16;
    const SEGMENTS: usize = 8;
    type Kind = Kind<2, false, 7>;
    /// The values of these types are at most 43.
    const OFFSET: i32 = 64;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, _segment: usize, block: &mut Block16) {
        let scales = block.head.pack(file_block, lane, Self::OFFSET, &mut block.indices);
        for (from, to) in scales.into_iter().zip(&mut block.scales) {
            to[lane] = from;
        }
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block16, segment: usize, quad: usize) -> I::Bytes {
        block.head.codes(isa, &block.indices[segment], quad)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block16, segment: usize, group: usize) -> I::F32 {
        block.head.scales(isa, &block.scales[2 * segment + group])
    }
}
