//! A build without the CPU executor.

use sm_kernels::plan::Backend;

use crate::{Error, LoadOptions};

/// Refuses: this build cannot run models on the CPU.
pub(crate) fn cpu(_options: &LoadOptions) -> Result<Box<dyn Backend>, Error> {
    Err(Error::NoBackend)
}
