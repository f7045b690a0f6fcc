//! Weight formats as the kernels read them: panels of 16 rows, interleaved so that a lane of a vector is a row of the
//! matrix, which is an output of the product.
//!
//! ```text
//! matrix [rows, cols]                    quantized panel                     segment of 32 columns
//!
//! row  0 ┌───────────────────────┐      ┌─────────┬─────────┬──             quad 0 │ row 0: 4 codes │ row 1: 4 codes │ …
//!  ...   │        panel 0        │  ──► │ block 0 │ block 1 │          ──►  quad 1 │     64 bytes, 4 for each of 16 rows
//! row 15 ├───────────────────────┤      └─────────┴─────────┴──              ...
//! row 16 │        panel 1        │       1 block = 2 to 8 segments          quad 7 │
//!                                                                           scales │ row 0 │ row 1 │ …
//! float panel      [cols][16]
//! BF16 panel       [cols / 2][16][2]
//! ```
//!
//! A *quad* is what one byte product takes: 4 columns of 16 rows, against 4 activations that all lanes share. Codes of
//! less than 8 bits lie several quads to a vector (`planes.rs`). A *segment* is 32 columns, as many as an int8 block of
//! activations has; its columns share one scale (and minimum) per row, or two.
//!
//! ```text
//! value = scale * (code - OFFSET) - min        code unsigned, as vpdpbusd wants it
//! ```
//!
//! Every value is kept to the bit, except that BF16 has none below [`MIN_BF16`](crate::cpu::isa::MIN_BF16), and a panel
//! has hardly more bytes than the file, since decoding is bound by reading them. The exceptions are the types whose values
//! are positions in a grid (IQ3_S to IQ1_S) and TQ1_0: they are unpacked to the codes of a wider format, which loses nothing
//! but memory (`indexed.rs`, `ternary.rs`).
//!
//! Lanes along rows need no horizontal sums and give each output one chain of additions over the columns, in order,
//! whatever the instruction set; `pack.rs` has the alternative.
//!
//! To add a type: a row in [`dispatch`], and a file here unless a packed format that exists can hold its values; each is a
//! copy of the kernels for every instruction set.

mod float;
mod indexed;
mod iq4_nl;
mod k_scales;
mod mxfp4;
mod planes;
mod q1_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod ternary;

use bytemuck::Pod;
use sm_tensor::DType;

use crate::cpu::isa::{Isa, LANES};

/// Columns of a segment; an int8 block of activations has as many.
pub(crate) const SEGMENT_LEN: usize = 32;
/// Quads of a segment.
pub(crate) const SEGMENT_QUADS: usize = SEGMENT_LEN / 4;

/// A float format: `[cols / COLS][16]`.
pub(crate) trait FloatFormat: 'static {
    /// The type in the file.
    const DTYPE: DType;
    /// Neighbouring columns in a lane.
    const COLS: usize;
    /// Values of that many columns of one row, little-endian in the file.
    type Value: Pod;
    /// Widens column `column < COLS` of 16 rows.
    fn load<I: Isa>(isa: I, values: &[Self::Value; LANES], column: usize) -> I::F32;
    /// Maps values of the file to packed ones.
    #[inline(always)]
    fn pack(values: Self::Value) -> Self::Value {
        values
    }
}

/// Which terms the product of a quantized format has.
pub(crate) trait CodeKind: Copy + 'static {
    /// Groups of columns in a segment with a scale (and minimum) of their own: 1 or 2.
    const GROUPS: usize;
    /// Whether there are minima.
    const HAS_MIN: bool;
    /// Bits of a code.
    const BITS: u32;
}

/// A [`CodeKind`] by its constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind<const GROUPS: usize, const HAS_MIN: bool, const BITS: u32>;

impl<const GROUPS: usize, const HAS_MIN: bool, const BITS: u32> CodeKind for Kind<GROUPS, HAS_MIN, BITS> {
    const GROUPS: usize = GROUPS;
    const HAS_MIN: bool = HAS_MIN;
    const BITS: u32 = BITS;
}

/// A block of a quantized tensor, as its file stores it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileBlock<'a> {
    /// One of the types that [`dispatch`] maps to the packed format.
    pub(crate) dtype: DType,
    pub(crate) bytes: &'a [u8],
}

/// A packed format of quantized types.
pub(crate) trait QuantFormat: 'static {
    /// 16 rows of [`QuantFormat::SEGMENTS`] segments, a multiple of 64 bytes.
    type Block: Pod;
    /// Segments in a block.
    const SEGMENTS: usize;
    /// Terms of the product.
    type Kind: CodeKind;
    /// Subtracted from every code.
    const OFFSET: i32;

    /// Packs a block of the file as row `lane` of the segments from `segment` on.
    fn pack(file_block: FileBlock<'_>, lane: usize, segment: usize, block: &mut Self::Block);
    /// The codes of columns `4 quad..4 quad + 4` of a segment.
    fn codes<I: Isa>(isa: I, block: &Self::Block, segment: usize, quad: usize) -> I::Bytes;
    /// The scales of a group of a segment.
    fn scales<I: Isa>(isa: I, block: &Self::Block, segment: usize, group: usize) -> I::F32;
    /// The minima of a group of a segment.
    fn mins<I: Isa>(isa: I, _block: &Self::Block, _segment: usize, _group: usize) -> I::F32 {
        isa.splat(0.0)
    }
}

/// A computation that is generic over the weight format.
pub(crate) trait FormatVisitor {
    /// Its result.
    type Output;
    /// Runs the computation for a float format.
    fn float<F: FloatFormat>(self) -> Self::Output;
    /// Runs the computation for a quantized format.
    fn quantized<F: QuantFormat>(self) -> Self::Output;
}

/// Runs `visitor` with the format that `dtype` is packed in: the table of formats.
#[inline(always)]
pub(crate) fn dispatch<V: FormatVisitor>(dtype: DType, visitor: V) -> V::Output {
    match dtype {
        DType::F32 => visitor.float::<float::F32>(),
        DType::F16 => visitor.float::<float::F16>(),
        DType::Bf16 => visitor.float::<float::Bf16>(),
        DType::Q8_0 => visitor.quantized::<q8_0::Q8_0>(),
        DType::Q4_0 => visitor.quantized::<q4_0::Q4_0>(),
        DType::Q4_1 => visitor.quantized::<q4_1::Q4_1>(),
        DType::Q5_0 => visitor.quantized::<q5_0::Q5_0>(),
        DType::Q5_1 => visitor.quantized::<q5_1::Q5_1>(),
        DType::Q2K => visitor.quantized::<q2_k::Q2K>(),
        DType::Q3K => visitor.quantized::<q3_k::Q3K>(),
        DType::Q4K => visitor.quantized::<q4_k::Q4K>(),
        DType::Q5K => visitor.quantized::<q5_k::Q5K>(),
        DType::Q6K => visitor.quantized::<q6_k::Q6K>(),
        DType::Iq4Nl => visitor.quantized::<iq4_nl::Iq4Nl>(),
        DType::Iq4Xs | DType::Iq3S | DType::Iq3Xxs | DType::Iq2Xxs | DType::Iq1S => {
            visitor.quantized::<indexed::Indexed32>()
        }
        DType::Iq2S | DType::Iq2Xs | DType::Iq1M => visitor.quantized::<indexed::Indexed16>(),
        DType::Mxfp4 => visitor.quantized::<mxfp4::Mxfp4>(),
        DType::Tq2_0 | DType::Tq1_0 => visitor.quantized::<ternary::Ternary>(),
        DType::Q1_0 => visitor.quantized::<q1_0::Q1_0>(),
    }
}

/// The codes of a table of values: each plus `offset`, which makes it unsigned.
const fn unsigned_table(values: &[i8; 16], offset: i32) -> [u8; 16] {
    let mut codes = [0; 16];
    let mut index = 0;
    while index < 16 {
        codes[index] = (values[index] as i32 + offset) as u8;
        index += 1;
    }
    codes
}

/// The little-endian `u16` at byte `offset` of a block of the file.
fn read_u16(file_block: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([file_block[offset], file_block[offset + 1]])
}
