//! Converts matrix rows between data types, via `f32`.

use std::ops::Range;

use sm_tensor::{DType, QuantizeError, ShapeError, dequantize, quantize};

/// Rows of a row-major matrix as `f32`; `bytes` holds whole rows of `cols` values.
pub(super) fn rows(dtype: DType, bytes: &[u8], cols: usize) -> Result<Vec<f32>, ShapeError> {
    if dtype.row_bytes(cols).is_none() {
        return Err(ShapeError::PartialBlock { dtype, cols });
    }
    let mut values = vec![0.0; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    dequantize(dtype, bytes, &mut values)?;
    Ok(values)
}

/// Rows `rows` of a column-major matrix with `n_rows` rows, as row-major `f32`.
pub(super) fn transposed_rows(
    dtype: DType,
    bytes: &[u8],
    n_rows: usize,
    rows: Range<usize>,
) -> Result<Vec<f32>, ShapeError> {
    let value_bytes = dtype.row_bytes(1).ok_or(ShapeError::PartialBlock { dtype, cols: 1 })?;
    let cols = bytes.len() / (n_rows * value_bytes);
    let mut values = vec![0.0; rows.len() * cols];
    let mut column = vec![0.0; rows.len()];
    for col in 0..cols {
        let start = (col * n_rows + rows.start) * value_bytes;
        dequantize(dtype, &bytes[start..][..rows.len() * value_bytes], &mut column)?;
        let of_column = values.iter_mut().skip(col).step_by(cols);
        of_column.zip(&column).for_each(|(value, &read)| *value = read);
    }
    Ok(values)
}

/// Rows of `cols` values, converted to `dtype`.
pub(super) fn store(dtype: DType, values: &[f32], cols: usize) -> Result<Vec<u8>, QuantizeError> {
    let row_bytes = dtype.row_bytes(cols).ok_or(ShapeError::PartialBlock { dtype, cols })?;
    let mut bytes = vec![0; values.len() / cols * row_bytes];
    quantize(dtype, values, &mut bytes)?;
    Ok(bytes)
}
