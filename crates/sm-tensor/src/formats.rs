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
mod importance;
mod iq4_nl;
mod packed_scales;
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

pub use packed_scales::unpack_k_scales;

/// A format with blocks of `LEN` values in `BYTES` bytes.
trait BlockFormat<const LEN: usize, const BYTES: usize> {
    /// The data type this format implements.
    const DTYPE: DType;

    /// The largest magnitude that can be stored. Block scales are f16, so values are held to the
    /// range of f16: then no scale overflows.
    const MAX_ABS: f32 = 65504.0;

    /// Decodes one block.
    fn dequantize(block: &[u8; BYTES], values: &mut [f32; LEN]);

    /// Encodes `values`, which are finite and at most [`Self::MAX_ABS`] in magnitude.
    fn quantize(values: &[f32; LEN], block: &mut [u8; BYTES]);

    /// As [`BlockFormat::quantize`], with errors weighted by importance. Formats that leave no choice ignore it.
    fn quantize_important(values: &[f32; LEN], _importance: &[f32; LEN], block: &mut [u8; BYTES]) {
        Self::quantize(values, block);
    }
}

/// One row of [`TABLE`].
struct Format {
    dtype: DType,
    max_abs: f32,
    dequantize: fn(&[u8], &mut [f32]),
    quantize: fn(&[f32], &mut [u8]),
    /// Values of one row and their importance.
    quantize_important: fn(&[f32], &[f32], &mut [u8]),
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
        quantize: quantize_blocks::<F, LEN, BYTES>,
        quantize_important: quantize_important_blocks::<F, LEN, BYTES>,
    }
}

/// Every format, in the order of [`DType`].
const TABLE: [Format; 14] = [
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
/// The float formats and all formats with 32 values per block except IQ4_NL produce the same bytes
/// as the Python package `gguf`. The others minimise the weighted square error that ggml minimises
/// when it has no importance matrix.
///
/// # Errors
/// If `values` is not a whole number of blocks, `bytes` has the wrong size, or a value is NaN,
/// infinite or too large for the format. `bytes` is then unchanged.
pub fn quantize(dtype: DType, values: &[f32], bytes: &mut [u8]) -> Result<(), QuantizeError> {
    check_sizes(dtype, bytes.len(), values.len())?;
    let format = &TABLE[dtype as usize];
    check_range(format, values)?;
    (format.quantize)(values, bytes);
    Ok(())
}

/// As [`quantize`], with the square error of each value weighted by the importance of its column: the mean square of the
/// input that the column is multiplied with (an importance matrix, as `llama-imatrix` measures it). `values` are rows of
/// `importance.len()` values, back to back.
///
/// The float formats and Q8_0 leave no choice, so importance does not change them.
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
    check_range(format, values)?;
    for (row, bytes) in values.chunks(cols).zip(bytes.chunks_mut(row_bytes)) {
        (format.quantize_important)(row, importance, bytes);
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
        F::quantize_important(values, importance, block);
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
