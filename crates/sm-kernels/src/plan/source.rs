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

    /// Tells that all rows of a tensor have been read, so that a source can drop what it holds of them in memory. They can
    /// still be asked for.
    fn release(&self, _tensor: &str) {}

    /// The `n_bytes` that a backend packed all matrices into on an earlier run, in the layout it calls `form`; `None` if
    /// the source does not store them.
    fn packed(&self, _form: &str, _n_bytes: usize) -> Option<PackedBytes> {
        None
    }

    /// Offers the packed matrices for storage.
    fn keep_packed(&self, _form: &str, _bytes: &[u8]) {}
}

/// Bytes that lie outside this process's own memory, for instance in a mapped file.
pub trait StoredBytes: Send + Sync {
    /// The bytes, aligned to 64. Their address does not change.
    fn bytes(&self) -> &[u8];

    /// Checks that the bytes are still those that were there at first. An executor asks after each step, before anybody sees
    /// what the step computed from them.
    ///
    /// # Errors
    /// What happened to them, and where they are.
    fn check(&self) -> Result<(), String>;
}

/// Packed weights stored outside a backend.
pub struct PackedBytes(Box<dyn StoredBytes>);

impl PackedBytes {
    /// Packed weights that lie in `bytes`.
    pub fn new(bytes: impl StoredBytes + 'static) -> Self {
        Self(Box::new(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// As [`StoredBytes::check`].
    ///
    /// # Errors
    /// If the bytes have changed.
    pub fn check(&self) -> Result<(), String> {
        self.0.check()
    }
}

impl fmt::Debug for PackedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packed bytes", self.bytes().len())
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
