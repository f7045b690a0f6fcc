//! A build without the CPU executor.

use sm_kernels::plan::Backend;

use crate::{Error, LoadError, LoadOptions};

/// Refuses: this build cannot run models on the CPU.
pub(crate) fn cpu(_options: &LoadOptions) -> Result<Box<dyn Backend>, Error> {
    Err(LoadError::NoBackend.into())
}

/// Values in a block of [`block_maxima`].
pub(crate) const BLOCK_LEN: usize = 64;

/// Puts the largest value of each block of `values`, NaN left out, into `maxima`, instead of what was there. Gives whether
/// all values are finite.
pub(crate) fn block_maxima(values: &[f32], maxima: &mut Vec<f32>) -> bool {
    let largest = |block: &[f32]| block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    maxima.clear();
    maxima.extend(values.chunks(BLOCK_LEN).map(largest));
    values.iter().all(|value| value.is_finite())
}

/// The kernel sets that this machine can run: none without a backend.
pub fn kernel_sets() -> Vec<&'static str> {
    Vec::new()
}
