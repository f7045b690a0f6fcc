//! Where weights come from: the tensors that a plan names.

use std::fmt;
use std::ops::Range;

/// The tensors that a plan names.
pub trait WeightSource: Sync {
    /// Rows of a tensor, row-major, stored as its [`MatrixPart`](super::MatrixPart) says. A source that does not hold
    /// them in memory reads them into `buffer`, replacing what is there; the next call may reuse it.
    ///
    /// # Errors
    /// If the tensor is missing, has fewer rows, or cannot be read.
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError>;

    /// A one-dimensional tensor as `f32`.
    ///
    /// # Errors
    /// If the tensor is missing.
    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError>;

    /// Tells that all rows of a tensor have been read, so that a mapped file can drop them from memory. They can still
    /// be asked for.
    fn release(&self, _tensor: &str) {}

    /// The `n_bytes` that a backend packed all matrices into on an earlier run, in the layout it calls `form`; `None` if
    /// the source does not store them.
    fn packed(&self, _form: &str, _n_bytes: usize) -> Option<PackedBytes> {
        None
    }

    /// Offers the packed matrices for storage.
    fn keep_packed(&self, _form: &str, _bytes: &[u8]) {}
}

/// Packed weights stored outside a backend, for instance in a mapped file; aligned to 64 bytes.
pub struct PackedBytes(Box<dyn AsRef<[u8]> + Send + Sync>);

impl PackedBytes {
    /// Bytes whose address does not change.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Box::new(bytes))
    }
}

impl AsRef<[u8]> for PackedBytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for PackedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packed bytes", self.as_ref().len())
    }
}

/// Why a source could not deliver a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightError {
    /// No tensor has the name.
    #[error("the model has no tensor {tensor:?}")]
    Missing {
        /// The name in the weight source.
        tensor: String,
    },
    /// The tensor has another shape than the plan declares.
    #[error("tensor {tensor:?} has {actual} values but the plan needs {expected}")]
    Size {
        /// The name in the weight source.
        tensor: String,
        /// Values needed.
        expected: usize,
        /// Values found.
        actual: usize,
    },
    /// The bytes could not be turned into values.
    #[error("tensor {tensor:?}: {reason}")]
    Unreadable {
        /// The name in the weight source.
        tensor: String,
        /// What was wrong.
        reason: String,
    },
    /// The caller cancelled loading.
    #[error("loading was cancelled")]
    Cancelled,
}
