//! Checked views of matrices in the layout of a model file.

use crate::DType;

/// A matrix in file layout: `rows` × `cols`, row-major, `[out_features, in_features]`. A row is a
/// whole number of blocks.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a> {
    dtype: DType,
    rows: usize,
    cols: usize,
    bytes: &'a [u8],
}

/// A shape that does not fit its data type or its bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The row length is not a multiple of the block length.
    #[error("rows of {cols} values cannot be stored as {dtype}, whose blocks hold {} values", dtype.block_len())]
    PartialBlock {
        /// The data type.
        dtype: DType,
        /// Values per row.
        cols: usize,
    },
    /// The bytes do not match the shape.
    #[error("a {dtype} matrix of {rows} x {cols} takes {expected} bytes, found {actual}")]
    ByteCount {
        /// The data type.
        dtype: DType,
        /// Rows.
        rows: usize,
        /// Values per row.
        cols: usize,
        /// Bytes the shape takes.
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// The size in bytes overflows.
    #[error("a {dtype} matrix of {rows} x {cols} exceeds the address space")]
    Overflow {
        /// The data type.
        dtype: DType,
        /// Rows.
        rows: usize,
        /// Values per row.
        cols: usize,
    },
}

impl<'a> MatRef<'a> {
    /// A view of `bytes` as `rows` × `cols` values of `dtype`.
    ///
    /// # Errors
    /// If the row length is not a multiple of the block length, or `bytes` has the wrong size.
    pub fn new(dtype: DType, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, ShapeError> {
        let row_bytes = dtype.row_bytes(cols).ok_or(ShapeError::PartialBlock { dtype, cols })?;
        let expected = rows.checked_mul(row_bytes).ok_or(ShapeError::Overflow { dtype, rows, cols })?;
        if expected != bytes.len() {
            return Err(ShapeError::ByteCount { dtype, rows, cols, expected, actual: bytes.len() });
        }
        Ok(Self { dtype, rows, cols, bytes })
    }

    /// Storage type.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of rows (output features).
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Values per row (input features).
    pub const fn cols(&self) -> usize {
        self.cols
    }

    /// All rows, back to back.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of one row.
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let row_bytes = self.bytes.len() / self.rows;
        &self.bytes[row * row_bytes..][..row_bytes]
    }
}
