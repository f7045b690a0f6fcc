//! The CPU backend.

use sm_kernels::plan::Backend;
use sm_kernels::{CpuBackend, IsaKind};
use tracing::warn;

use crate::{Error, Threads};

pub(crate) use sm_kernels::{BLOCK_LEN, block_maxima};

/// The CPU with a kernel set, the best by default, and threads.
///
/// # Errors
/// If the kernel set is unknown, the processor lacks it, or there are no threads.
pub(super) fn open(isa: Option<&str>, threads: Threads) -> Result<Box<dyn Backend>, Error> {
    let mut backend = match threads {
        Threads::AtMost(0) | Threads::Exactly(0) => {
            return Err(Error::validation("threads", "0 is not possible; use at least 1"));
        }
        Threads::PerCore => CpuBackend::new(),
        Threads::AtMost(n_threads) => {
            let n_processors = std::thread::available_parallelism().map_or(1, usize::from);
            if n_processors < n_threads {
                warn!(
                    "{n_threads} threads on {n_processors} processors: more would wait for each other; using {n_processors}"
                );
            }
            CpuBackend::new().threads(n_threads)
        }
        Threads::Exactly(n_threads) => CpuBackend::new().exact_threads(n_threads),
    };
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
