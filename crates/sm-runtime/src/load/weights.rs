//! The weight source of a load: cancellable, and read from a packed file if there is one.

use std::ops::Range;

use sm_kernels::plan::{PackedBytes, WeightError, WeightSource};
use sm_model::Weights;

use super::packed::PackedFile;
use crate::CancelToken;

/// The weight source of a load.
pub(super) struct LoadingWeights<'w> {
    pub(super) weights: &'w Weights,
    pub(super) cancel: &'w CancelToken,
    /// The file of packed weights, if enabled.
    pub(super) packed: Option<PackedFile>,
}

impl LoadingWeights<'_> {
    fn check(&self) -> Result<(), WeightError> {
        if self.cancel.is_cancelled() { Err(WeightError::Cancelled) } else { Ok(()) }
    }
}

impl WeightSource for LoadingWeights<'_> {
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
        self.packed.as_ref()?.read(form, n_bytes)
    }

    fn keep_packed(&self, form: &str, bytes: &[u8]) {
        // What was packed from two versions of a model must not be kept; the load ends with an error.
        let is_whole = !self.cancel.is_cancelled() && self.weights.check_unchanged().is_ok();
        if let Some(packed) = self.packed.as_ref().filter(|_| is_whole) {
            packed.write(form, bytes);
        }
    }
}
