//! Block formats: how blocks of each [`DType`] decode to `f32` and how `f32` values encode to blocks.
//!
//! Every format is a [`BlockFormat`] in a file of its own and one row of [`TABLE`]. These are the plain
//! definitions of the ggml layouts, exact in both directions; the fast kernels that multiply blocks are
//! in `sm-kernels` and tested against them.
//!
//! Source: `ggml-common.h` for layouts, `ggml-quants.c` for the quantizers.

use crate::{DType, ShapeError};
use half::f16;

mod affine;
mod float;
mod grids;
mod importance;
mod indexed;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod packed_scales;
mod parts;
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
mod rounding;
mod symmetric;
mod tq1_0;
mod tq2_0;

use indexed::Indexed;
pub use indexed::{IndexedBlock, IndexedFormat};
pub use packed_scales::unpack_k_scales;
pub use parts::{BlockParts, write_block};

const MAX_F16: f32 = f16::MAX.to_f32_const();

/// A format with blocks of `LEN` values in `BYTES` bytes.
trait BlockFormat<const LEN: usize, const BYTES: usize> {
    /// The data type this format implements.
    const DTYPE: DType;

    /// The largest magnitude that can be stored. Block scales are f16, so values are held to the
    /// range of f16: then no scale overflows.
    const MAX_ABS: f32 = MAX_F16;

    /// Decodes one block.
    fn dequantize(block: &[u8; BYTES], values: &mut [f32; LEN]);

    /// Encodes `values`, which are finite and at most [`Self::MAX_ABS`] in magnitude.
    fn quantize(values: &[f32; LEN], block: &mut [u8; BYTES]);

    /// The weights of errors under an importance matrix; `None` if nothing in the block is important.
    fn error_weights(importance: &[f32; LEN], values: &[f32; LEN]) -> Option<[f32; LEN]> {
        importance::error_weights(importance, values)
    }

    /// As [`BlockFormat::quantize`], with the square error of each value weighted. Formats that leave no choice ignore it.
    fn quantize_weighted(values: &[f32; LEN], _weights: &[f32; LEN], block: &mut [u8; BYTES]) {
        Self::quantize(values, block);
    }
}

/// One row of [`TABLE`].
struct Format {
    dtype: DType,
    max_abs: f32,
    dequantize: fn(&[u8], &mut [f32]),
    /// `None` for types that are only read.
    quantize: Option<Quantizers>,
    /// How values are indexed, if they are.
    indexed: Option<IndexedFormat>,
}

/// The quantizers of a format: with an importance matrix and without.
#[derive(Clone, Copy)]
struct Quantizers {
    plain: fn(&[f32], &mut [u8]),
    /// Values of one row and their importance.
    important: fn(&[f32], &[f32], &mut [u8]),
}

const fn format<F: BlockFormat<LEN, BYTES>, const LEN: usize, const BYTES: usize>() -> Format {
    assert!(
        LEN == F::DTYPE.block_len() && BYTES == F::DTYPE.block_bytes(),
        "a format and its data type differ in size"
    );
    Format {
        dtype: F::DTYPE,
        max_abs: F::MAX_ABS,
        dequantize: dequantize_blocks::<F, LEN, BYTES>,
        quantize: Some(Quantizers {
            plain: quantize_blocks::<F, LEN, BYTES>,
            important: quantize_important_blocks::<F, LEN, BYTES>,
        }),
        indexed: None,
    }
}

/// A format of indexed values.
const fn indexed<F, const BYTES: usize>() -> Format
where
    F: BlockFormat<256, BYTES> + Indexed<BYTES>,
{
    Format { indexed: Some(IndexedFormat::new::<F, BYTES>()), ..format::<F, 256, BYTES>() }
}

/// A format of indexed values that has no quantizer: to find good groups in the grids takes a search of its own, and an
/// importance matrix, without which llama.cpp refuses to write most of these types.
const fn read_only<F: Indexed<BYTES>, const BYTES: usize>() -> Format {
    assert!(
        F::DTYPE.block_len() == indexed::LEN && BYTES == F::DTYPE.block_bytes(),
        "a format and its data type differ in size"
    );
    Format {
        dtype: F::DTYPE,
        max_abs: MAX_F16,
        dequantize: dequantize_indexed::<F, BYTES>,
        quantize: None,
        indexed: Some(IndexedFormat::new::<F, BYTES>()),
    }
}

/// Every format, in the order of [`DType`].
const TABLE: [Format; 26] = [
    format::<float::F32, 1, 4>(),
    float::F16,
    format::<float::Bf16, 1, 2>(),
    format::<q8_0::Q8_0, 32, 34>(),
    format::<q4_0::Q4_0, 32, 18>(),
    format::<q4_1::Q4_1, 32, 20>(),
    format::<q5_0::Q5_0, 32, 22>(),
    format::<q5_1::Q5_1, 32, 24>(),
    format::<q2_k::Q2K, 256, 84>(),
    format::<q3_k::Q3K, 256, 110>(),
    format::<q4_k::Q4K, 256, 144>(),
    format::<q5_k::Q5K, 256, 176>(),
    format::<q6_k::Q6K, 256, 210>(),
    format::<iq4_nl::Iq4Nl, 32, 18>(),
    indexed::<iq4_xs::Iq4Xs, 136>(),
    read_only::<iq3_s::Iq3S, 110>(),
    read_only::<iq3_xxs::Iq3Xxs, 98>(),
    read_only::<iq2_s::Iq2S, 82>(),
    read_only::<iq2_xs::Iq2Xs, 74>(),
    read_only::<iq2_xxs::Iq2Xxs, 66>(),
    read_only::<iq1_m::Iq1M, 56>(),
    read_only::<iq1_s::Iq1S, 50>(),
    format::<mxfp4::Mxfp4, 32, 17>(),
    indexed::<tq2_0::Tq2_0, 66>(),
    indexed::<tq1_0::Tq1_0, 54>(),
    format::<q1_0::Q1_0, 128, 18>(),
];

const _: () = {
    let mut index = 0;
    while index < TABLE.len() {
        assert!(TABLE[index].dtype as usize == index, "the table of formats is not in enum order");
        index += 1;
    }
};

/// Why values could not be quantized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The values do not fill whole blocks, or the output has the wrong size.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The data type has no quantizer.
    #[error("{dtype} can be read but not written; types that can be written: {}", DType::writable_names().join(", "))]
    NotWritable {
        /// The target data type.
        dtype: DType,
    },
    /// A value the format cannot represent.
    #[error(
        "value {value} at index {index} cannot be stored as {dtype}, which takes finite values up to ±{max_abs}"
    )]
    OutOfRange {
        /// The target data type.
        dtype: DType,
        /// Index of the first such value.
        index: usize,
        /// The value: NaN, infinite or too large.
        value: f32,
        /// The largest magnitude the data type can represent.
        max_abs: f32,
    },
    /// The values are not whole rows of the length that the importance has.
    #[error("an importance of {importance_len} columns does not fit {n_values} values")]
    Importance {
        /// Columns that have an importance.
        importance_len: usize,
        /// The number of values.
        n_values: usize,
    },
}

impl DType {
    /// Whether [`quantize`] can write this type.
    pub const fn is_writable(self) -> bool {
        TABLE[self as usize].quantize.is_some()
    }

    /// The names of the types that [`quantize`] can write.
    pub fn writable_names() -> Vec<&'static str> {
        Self::all().filter(|dtype| dtype.is_writable()).map(Self::name).collect()
    }

    /// How this type indexes its values, if it does.
    pub const fn indexed(self) -> Option<IndexedFormat> {
        TABLE[self as usize].indexed
    }
}

/// Decodes blocks of `dtype`, bit-identical to ggml.
///
/// `bytes` holds whole blocks (a row, or rows back to back), `values` receives what they encode.
/// Any bytes are valid; an infinite or NaN scale yields infinite or NaN values.
///
/// # Errors
/// If `values` is not a whole number of blocks, or `bytes` has the wrong size.
pub fn dequantize(dtype: DType, bytes: &[u8], values: &mut [f32]) -> Result<(), ShapeError> {
    check_sizes(dtype, bytes.len(), values.len())?;
    (TABLE[dtype as usize].dequantize)(bytes, values);
    Ok(())
}

/// Encodes `values` as whole blocks of `dtype` in `bytes` (a row, or rows back to back).
///
/// The types for which the Python package `gguf` has a quantizer get the same bytes: the floats, all with 32 or 128
/// values per block except IQ4_NL, and the ternary ones. The others minimise the weighted square error that ggml minimises
/// when it has no importance matrix.
///
/// # Errors
/// If `values` is not a whole number of blocks, `bytes` has the wrong size, the type [can only be read](DType::is_writable),
/// or a value is NaN, infinite or too large for the format. `bytes` is then unchanged.
pub fn quantize(dtype: DType, values: &[f32], bytes: &mut [u8]) -> Result<(), QuantizeError> {
    check_sizes(dtype, bytes.len(), values.len())?;
    let format = &TABLE[dtype as usize];
    let quantizers = format.quantize.ok_or(QuantizeError::NotWritable { dtype })?;
    check_range(format, values)?;
    (quantizers.plain)(values, bytes);
    Ok(())
}

/// As [`quantize`], with the square error of each value weighted by the importance of its column: the mean square of the
/// input that the column is multiplied with (an importance matrix, as `llama-imatrix` measures it). `values` are rows of
/// `importance.len()` values, back to back.
///
/// Importance changes nothing in the float formats, Q8_0, Q1_0, MXFP4 and the ternary types, whose quantizers make no choice.
///
/// # Errors
/// As [`quantize`], or if the values are not whole rows.
pub fn quantize_important(
    dtype: DType,
    values: &[f32],
    importance: &[f32],
    bytes: &mut [u8],
) -> Result<(), QuantizeError> {
    check_sizes(dtype, bytes.len(), values.len())?;
    let cols = importance.len();
    let row_bytes = dtype.row_bytes(cols).filter(|_| cols > 0 && values.len().is_multiple_of(cols));
    let Some(row_bytes) = row_bytes else {
        return Err(QuantizeError::Importance { importance_len: cols, n_values: values.len() });
    };
    let format = &TABLE[dtype as usize];
    let quantizers = format.quantize.ok_or(QuantizeError::NotWritable { dtype })?;
    check_range(format, values)?;
    for (row, bytes) in values.chunks(cols).zip(bytes.chunks_mut(row_bytes)) {
        (quantizers.important)(row, importance, bytes);
    }
    Ok(())
}

fn check_sizes(dtype: DType, n_bytes: usize, n_values: usize) -> Result<(), ShapeError> {
    let expected = dtype.row_bytes(n_values).ok_or(ShapeError::PartialBlock { dtype, cols: n_values })?;
    if expected == n_bytes {
        Ok(())
    } else {
        Err(ShapeError::ByteCount { dtype, rows: 1, cols: n_values, expected, actual: n_bytes })
    }
}

fn check_range(format: &Format, values: &[f32]) -> Result<(), QuantizeError> {
    let max_abs = format.max_abs;
    let fits = |value: &f32| value.abs() <= max_abs;
    for (chunk_idx, chunk) in values.chunks(1024).enumerate() {
        // No early exit within a chunk, so that the test vectorises.
        if chunk.iter().fold(true, |all, value| all & fits(value)) {
            continue;
        }
        if let Some(offset) = chunk.iter().position(|value| !fits(value)) {
            let index = chunk_idx * 1024 + offset;
            let value = chunk[offset];
            return Err(QuantizeError::OutOfRange { dtype: format.dtype, index, value, max_abs });
        }
    }
    Ok(())
}

fn dequantize_blocks<F: BlockFormat<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    bytes: &[u8],
    values: &mut [f32],
) {
    for (block, values) in bytes.as_chunks::<BYTES>().0.iter().zip(values.as_chunks_mut::<LEN>().0) {
        F::dequantize(block, values);
    }
}

fn dequantize_indexed<F: Indexed<BYTES>, const BYTES: usize>(bytes: &[u8], values: &mut [f32]) {
    for (block, values) in bytes.as_chunks::<BYTES>().0.iter().zip(values.as_chunks_mut().0) {
        indexed::dequantize::<F, BYTES>(block, values);
    }
}

fn quantize_blocks<F: BlockFormat<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    values: &[f32],
    bytes: &mut [u8],
) {
    for (values, block) in values.as_chunks::<LEN>().0.iter().zip(bytes.as_chunks_mut::<BYTES>().0) {
        F::quantize(values, block);
    }
}

fn quantize_important_blocks<F: BlockFormat<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    values: &[f32],
    importance: &[f32],
    bytes: &mut [u8],
) {
    let values = values.as_chunks::<LEN>().0.iter().zip(importance.as_chunks::<LEN>().0);
    for ((values, importance), block) in values.zip(bytes.as_chunks_mut::<BYTES>().0) {
        match F::error_weights(importance, values) {
            Some(weights) => F::quantize_weighted(values, &weights, block),
            None => F::quantize(values, block),
        }
    }
}

/// Writes 32 codes of 4 bits: in byte `j` code `j` below code `j + 16`.
fn write_nibbles(bytes: &mut [u8], codes: &[u8; 32]) {
    for (j, pair) in bytes.iter_mut().enumerate() {
        *pair = codes[j] & 15 | codes[j + 16] << 4;
    }
}

/// Reads the f16 at byte `offset` of a block.
fn read_f16(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}

/// Writes `value` as an f16 at byte `offset` of a block, rounded to nearest, ties to even. Returns the
/// value stored.
fn write_f16(block: &mut [u8], offset: usize, value: f32) -> f32 {
    let rounded = f16::from_f32(value);
    block[offset..offset + 2].copy_from_slice(&rounded.to_le_bytes());
    rounded.to_f32()
}
