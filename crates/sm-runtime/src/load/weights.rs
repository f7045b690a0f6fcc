//! The weights of a model that is being loaded: nobody may want them any more, and they may have been packed before.

use std::ops::Range;

use sm_kernels::plan::{PackedBytes, WeightError, WeightSource};

use super::packed::PackedFile;
use crate::CancelToken;

/// The weights of a model that is being loaded.
pub(super) struct Source<'w> {
    pub(super) weights: &'w dyn WeightSource,
    pub(super) cancel: &'w CancelToken,
    /// Where they are kept packed, if anywhere.
    pub(super) kept: Option<PackedFile>,
}

impl Source<'_> {
    fn check(&self) -> Result<(), WeightError> {
        if self.cancel.is_cancelled() { Err(WeightError::Cancelled) } else { Ok(()) }
    }
}

impl WeightSource for Source<'_> {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        self.check()?;
        self.weights.matrix_rows(tensor, rows, buffer)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        self.check()?;
        self.weights.vector(tensor)
    }

    fn release(&self, tensor: &str) {
        self.weights.release(tensor);
    }

    fn packed(&self, form: &str, n_bytes: usize) -> Option<PackedBytes> {
        self.kept.as_ref()?.read(form, n_bytes)
    }

    fn keep_packed(&self, form: &str, bytes: &[u8]) {
        if let Some(kept) = self.kept.as_ref().filter(|_| !self.cancel.is_cancelled()) {
            kept.write(form, bytes);
        }
    }
}
