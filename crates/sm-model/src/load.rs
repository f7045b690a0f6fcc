//! Readers of model files.
//!
//! Files are untrusted. Every count, length and offset is checked against the file size before it is used to index or
//! allocate; what a reader returns can be trusted. Nothing is copied: a tensor is a name, a shape, a data type and a range
//! of bytes.

pub(crate) mod cursor;
pub(crate) mod file;
pub(crate) mod gguf;
pub(crate) mod quantized;
pub(crate) mod safetensors;
pub(crate) mod smnd;
pub(crate) mod split;
pub(crate) mod stored;
pub(crate) mod tensors;

use std::ops::Range;

use sm_tensor::DType;

use crate::LoadError;

/// A tensor as stored in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Extents, slowest dimension first: `[out_features, in_features]` for a matrix.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub dtype: DType,
    /// Its bytes, as a range of the file; for a matrix of a quantized checkpoint, of the bytes that it is converted to.
    pub bytes: Range<usize>,
}

impl TensorInfo {
    /// Number of values.
    pub fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of rows, over all dimensions but the last.
    pub(crate) fn n_rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }
}

/// The size in bytes of a tensor whose `shape`, slowest dimension first, comes from a file.
fn checked_size(tensor: &str, shape: &[u64], dtype: DType) -> Result<u64, LoadError> {
    let layout = |reason: String| LoadError::TensorLayout {
        tensor: tensor.into(),
        shape: shape.into(),
        dtype,
        reason,
    };
    let n_values = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    let n_values = n_values
        .filter(|&n| i64::try_from(n).is_ok())
        .ok_or_else(|| layout("it has too many values".into()))?;
    let block_len = dtype.block_len() as u64;
    let block_bytes = dtype.block_bytes() as u64;
    let cols = shape.last().copied().unwrap_or(1);
    if !cols.is_multiple_of(block_len) {
        return Err(layout(format!(
            "its rows of {cols} values are not a multiple of the block length {block_len}"
        )));
    }
    (n_values / block_len).checked_mul(block_bytes).ok_or_else(|| layout("it has too many bytes".into()))
}
