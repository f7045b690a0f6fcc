//! Weight formats as the kernels read them: panels of 16 rows, interleaved.
//!
//! A *panel* holds [`LANES`] rows, so that a lane of a vector is a row of the matrix, and an output of the product.
//! Panels of float formats go value by value: `[cols][16]`, or pair by pair in BF16: `[cols / 2][16][2]`. Panels of
//! quantized formats are a list of blocks, each one or more *units* of 32 columns. A unit has 8 *quads*: vectors of
//! 64 bytes with the codes of 4 columns of 16 rows, which is what a byte product takes.
//!
//! ```text
//! value = scale * (code - OFFSET) - min
//! ```
//!
//! Every format keeps each value to the bit; only BF16 has none below [`MIN_BF16`](crate::cpu::isa::MIN_BF16). To add one: a
//! file here, and a row in [`dispatch`].

mod float;
mod iq4_nl;
mod k_scales;
mod planes;
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

use bytemuck::Pod;
use sm_tensor::DType;

use crate::cpu::isa::{Isa, LANES};

/// Columns of a unit; an int8 block of activations has as many.
pub(crate) const UNIT_LEN: usize = 32;
/// Vectors of codes in a unit.
pub(crate) const UNIT_QUADS: usize = 8;

/// A float format: `[cols / COLS][16]`.
pub(crate) trait FloatFormat: 'static {
    /// The format in the file.
    const DTYPE: DType;
    /// Neighbouring columns that a lane holds.
    const COLS: usize;
    /// One row's values of so many columns, little-endian in the file.
    type Value: Pod;
    /// Widens one of the columns of 16 rows.
    fn load<I: Isa>(isa: I, values: &[Self::Value; LANES], column: usize) -> I::F32;
    /// What is packed for values of the file.
    #[inline(always)]
    fn pack(values: Self::Value) -> Self::Value {
        values
    }
}

/// What the product has to do for a quantized format, beyond its codes.
pub(crate) trait CodeKind: Copy + 'static {
    /// Scales (and minima) of a row in a unit: 1 or 2.
    const GROUPS: usize;
    /// Whether there are minima.
    const HAS_MIN: bool;
    /// Bits of a code.
    const BITS: u32;
}

/// The kinds of codes as types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Codes<const GROUPS: usize, const HAS_MIN: bool, const BITS: u32>;

impl<const GROUPS: usize, const HAS_MIN: bool, const BITS: u32> CodeKind for Codes<GROUPS, HAS_MIN, BITS> {
    const GROUPS: usize = GROUPS;
    const HAS_MIN: bool = HAS_MIN;
    const BITS: u32 = BITS;
}

/// A quantized format.
pub(crate) trait QuantFormat: 'static {
    /// The format in the file.
    const DTYPE: DType;
    /// 16 rows of [`QuantFormat::UNITS`] units, a multiple of 64 bytes.
    type Block: Pod;
    /// Units in a block.
    const UNITS: usize;
    /// What the product has to do.
    type Kind: CodeKind;
    /// What is subtracted from every code.
    const OFFSET: i32;

    /// Writes row `lane` of the units from `unit` on from one block of the file.
    fn pack(file_block: &[u8], lane: usize, unit: usize, block: &mut Self::Block);
    /// The codes of columns `4 quad..4 quad + 4` of a unit.
    fn codes<I: Isa>(isa: I, block: &Self::Block, unit: usize, quad: usize) -> I::Bytes;
    /// The scales of a group of a unit.
    fn scales<I: Isa>(isa: I, block: &Self::Block, unit: usize, group: usize) -> I::F32;
    /// The minima of a group of a unit.
    fn mins<I: Isa>(isa: I, _block: &Self::Block, _unit: usize, _group: usize) -> I::F32 {
        isa.splat(0.0)
    }
}

/// A computation that is generic over the weight format.
pub(crate) trait FormatVisitor {
    /// What it gives.
    type Output;
    /// Runs it for a float format.
    fn float<F: FloatFormat>(self) -> Self::Output;
    /// Runs it for a quantized format.
    fn quantized<F: QuantFormat>(self) -> Self::Output;
}

/// Runs `visitor` with the format of `dtype`: the table of formats.
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
    }
}

/// The 16-bit number at a byte of a block of the file.
fn read_u16(file_block: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([file_block[offset], file_block[offset + 1]])
}
