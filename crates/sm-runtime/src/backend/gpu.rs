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

/// The GPUs of this machine, in the order of the indices of [`Device::Gpu`](crate::Device::Gpu); `None` if this build has no GPU
/// backend.
pub fn gpus() -> Option<Vec<String>> {
    Some(Adapter::all().iter().map(ToString::to_string).collect())
}
