//! Replaces the GPU backend in builds without it.

use sm_kernels::plan::{Backend, MemoryNeeds};

use super::Gpu;
use crate::{Device, Error};

/// Refuses.
pub(super) fn open(index: usize) -> Result<Box<dyn Backend>, Error> {
    Err(missing(index))
}

/// There is none.
pub(super) fn automatic(
    _needs: impl Fn(&dyn Backend) -> Result<MemoryNeeds, Error>,
) -> Option<Box<dyn Backend>> {
    None
}

/// Refuses, as there is none to test.
///
/// # Errors
/// Always.
pub fn test_gpu(index: usize) -> Result<usize, Error> {
    Err(missing(index))
}

fn missing(index: usize) -> Error {
    let message = format!(
        "this build has no GPU backend; use cpu or auto instead of {}, or build with the feature `gpu`",
        Device::Gpu(index)
    );
    Error::validation("device", message)
}

/// The GPUs that this build can use: it has no GPU backend.
pub fn gpus() -> Option<Vec<Gpu>> {
    None
}
