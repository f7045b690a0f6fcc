//! Replaces the CPU backend in builds without it.

use sm_kernels::plan::Backend;

use crate::{Error, LoadError};

/// Always fails.
pub(super) fn open(_isa: Option<&str>, _threads: Option<usize>) -> Result<Box<dyn Backend>, Error> {
    Err(LoadError::NoBackend.into())
}

/// Values per block of [`block_maxima`].
pub(crate) const BLOCK_LEN: usize = 64;

/// Writes the largest value of each block of `values`, ignoring NaN, to `maxima`. Returns whether all values are
/// finite.
pub(crate) fn block_maxima(values: &[f32], maxima: &mut Vec<f32>) -> bool {
    let largest = |block: &[f32]| block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    maxima.clear();
    maxima.extend(values.chunks(BLOCK_LEN).map(largest));
    values.iter().all(|value| value.is_finite())
}

/// The kernel sets this machine can run: none in this build.
pub fn kernel_sets() -> Vec<&'static str> {
    Vec::new()
}
