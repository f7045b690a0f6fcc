//! The CPU backend.

use sm_kernels::plan::Backend;
use sm_kernels::{CpuBackend, IsaKind};

use crate::Error;

pub(crate) use sm_kernels::{BLOCK_LEN, block_maxima};

/// The CPU backend. Defaults to the fastest kernel set and one worker thread per core.
///
/// # Errors
/// If the kernel set is unknown or not supported by the processor, or `threads` is 0.
pub(super) fn open(isa: Option<&str>, threads: Option<usize>) -> Result<Box<dyn Backend>, Error> {
    let mut backend = CpuBackend::new();
    if let Some(threads) = threads {
        if threads == 0 {
            return Err(Error::validation("threads", "0 is not allowed; use at least 1"));
        }
        backend = backend.threads(threads);
    }
    if let Some(name) = isa {
        let kind: IsaKind = name.parse().map_err(|error| Error::validation("isa", format!("{error}")))?;
        if !kind.is_available() {
            let message =
                format!("this processor cannot run {kind}; it can run {}", kernel_sets().join(", "));
            return Err(Error::validation("isa", message));
        }
        backend = backend.isa(kind);
    }
    Ok(Box::new(backend))
}

/// The kernel sets this machine can run, fastest last: values of `isa` in [`Device::Cpu`](crate::Device::Cpu).
pub fn kernel_sets() -> Vec<&'static str> {
    IsaKind::available().map(IsaKind::name).collect()
}
