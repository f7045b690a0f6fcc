//! A build without the CPU executor.

use sm_kernels::plan::Backend;

use crate::{Error, LoadOptions};

/// Refuses: this build cannot run models on the CPU.
pub(crate) fn cpu(_options: &LoadOptions) -> Result<Box<dyn Backend>, Error> {
    Err(Error::NoBackend)
}

/// The kernel sets that this machine can run: none without a backend.
pub fn kernel_sets() -> Vec<&'static str> {
    Vec::new()
}
