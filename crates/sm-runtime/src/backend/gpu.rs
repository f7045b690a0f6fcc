//! The GPU backend.

use sm_kernels::plan::Backend;
use sm_kernels::{Adapter, AdapterKind, GpuBackend};
use tracing::warn;

use crate::Error;

/// The GPU of an index, the fastest kind first.
///
/// # Errors
/// If there is no such GPU, or it lacks what the kernels need.
pub(super) fn open(index: usize) -> Result<Box<dyn Backend>, Error> {
    let backend = GpuBackend::open(index).map_err(|error| Error::validation("device", error.to_string()))?;
    let adapter = backend.adapter();
    if adapter.kind == AdapterKind::Software {
        warn!("GPU {index} is {adapter}: it runs on the processor, slower than --device cpu");
    }
    Ok(Box::new(backend))
}

/// Tests the GPU of an index: every kernel, against sums in double precision and the CPU. Takes seconds. Returns the number of values
/// that were compared.
///
/// # Errors
/// If there is no such GPU, its driver refuses a kernel, or a value is wrong.
pub fn test_gpu(index: usize) -> Result<usize, Error> {
    let invalid = |error: String| Error::validation("device", error);
    let backend = GpuBackend::open(index).map_err(|error| invalid(error.to_string()))?;
    backend.self_test().map_err(|error| invalid(error.to_string()))
}

/// The GPUs of this machine, in the order of the indices of [`Device::Gpu`](crate::Device::Gpu); `None` if this build has no GPU
/// backend.
pub fn gpus() -> Option<Vec<String>> {
    Some(Adapter::all().iter().map(ToString::to_string).collect())
}
