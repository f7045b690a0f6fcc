//! TQ1_0 and TQ2_0, packed: `scale * (code - 1)`, codes of 2 bits.
//!
//! ```text
//! block = 8 segments × 16 rows, 1088 bytes; 1056 (TQ2_0) or 864 (TQ1_0) in the file
//! codes   [8][2][64], as Q2_K
//! scales  [16] f16
//! padding
//! ```
//!
//! TQ1_0 has five digits of base 3 to a byte; taking them apart costs a multiplication each, so it is packed in 2 bits.

use bytemuck::{Pod, Zeroable};
use sm_tensor::IndexedBlock;

use super::{FileBlock, Kind, QuantFormat, planes};
use crate::cpu::isa::{Isa, LANES};

pub(super) struct Ternary;

/// Eight segments.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Block {
    codes: [[[u8; 64]; 2]; 8],
    scales: [u16; LANES],
    /// Pads to whole cache lines.
    padding: [u16; LANES],
}

impl QuantFormat for Ternary {
    type Block = Block;
    const SEGMENTS: usize = 8;
    type Kind = Kind<1, false, 2>;
    const OFFSET: i32 = 1;

    #[inline(always)]
    fn pack(file_block: FileBlock<'_>, lane: usize, _segment: usize, block: &mut Block) {
        let format = file_block.dtype.indexed().expect("a type of indexed values");
        let mut unpacked = IndexedBlock::default();
        format.unpack(file_block.bytes, &mut unpacked);
        for (from, to) in unpacked.indices.as_chunks().0.iter().zip(&mut block.codes) {
            planes::pack2(from, lane, to);
        }
        block.scales[lane] = unpacked.d.to_bits();
    }
    #[inline(always)]
    fn codes<I: Isa>(isa: I, block: &Block, segment: usize, quad: usize) -> I::Bytes {
        planes::unpack2(isa, &block.codes[segment], quad, 0)
    }
    #[inline(always)]
    fn scales<I: Isa>(isa: I, block: &Block, _segment: usize, _group: usize) -> I::F32 {
        isa.load_f16(&block.scales)
    }
}
