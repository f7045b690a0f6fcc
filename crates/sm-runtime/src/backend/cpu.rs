//! The CPU executor.

use sm_kernels::plan::Backend;
use sm_kernels::{CpuBackend, IsaKind};

use crate::{Error, LoadOptions};

pub(crate) use sm_kernels::{BLOCK_LEN, block_maxima};

/// The backend that the options ask for.
///
/// # Errors
/// If the kernel set is unknown or the processor lacks it.
pub(crate) fn cpu(options: &LoadOptions) -> Result<Box<dyn Backend>, Error> {
    let mut backend = CpuBackend::new();
    if let Some(n_threads) = options.n_threads {
        backend = backend.threads(n_threads);
    }
    if let Some(name) = &options.isa {
        let kind: IsaKind = name.parse().map_err(|error| Error::validation("isa", format!("{error}")))?;
        if !kind.is_available() {
            let available: Vec<&str> = IsaKind::available().map(IsaKind::name).collect();
            let message = format!("this processor has no {kind}; it has {}", available.join(", "));
            return Err(Error::validation("isa", message));
        }
        backend = backend.isa(kind);
    }
    Ok(Box::new(backend))
}

/// The kernel sets that this machine can run, the fastest last; the names are those of
/// [`LoadOptions::isa`](crate::LoadOptions::isa).
pub fn kernel_sets() -> Vec<&'static str> {
    IsaKind::available().map(IsaKind::name).collect()
}
