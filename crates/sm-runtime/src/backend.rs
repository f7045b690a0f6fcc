//! Selects the backend that runs plans. The only file that names backends.

#[cfg(feature = "cpu")]
#[path = "backend/cpu.rs"]
mod cpu;
#[cfg(not(feature = "cpu"))]
#[path = "backend/no_cpu.rs"]
mod cpu;

#[cfg(feature = "gpu")]
#[path = "backend/gpu.rs"]
mod gpu;
#[cfg(not(feature = "gpu"))]
#[path = "backend/no_gpu.rs"]
mod gpu;

use sm_kernels::plan::{Backend, MemoryNeeds, SplitBackend};

use crate::{Device, Error, Threads};

pub use cpu::kernel_sets;
pub(crate) use cpu::{BLOCK_LEN, block_maxima};
pub use gpu::{gpus, test_gpu};

/// A GPU of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gpu {
    /// Its name, what it is, and its driver.
    pub name: String,
    /// What it offers, in words: limits of its memory, and the arithmetic that products use.
    pub capabilities: String,
    /// How many values [`test_gpu`] of this version found to be right with this driver, now or in an earlier run.
    pub tested: Option<usize>,
    /// What it found to be wrong with cooperative matrices, which are not used therefore.
    pub matrices_error: Option<String>,
}

/// The GPU that [`Device::Auto`] is for what has these needs, if there is one. Says in a line why not.
pub(crate) fn automatic_gpu(
    needs: impl Fn(&dyn Backend) -> Result<MemoryNeeds, Error>,
) -> Option<Box<dyn Backend>> {
    gpu::automatic(needs)
}

/// The backend of a device; of [`Device::Auto`], if there is no [`automatic_gpu`].
///
/// # Errors
/// If this build has no backend for the device, or the machine lacks it.
pub(crate) fn open(device: &Device) -> Result<Box<dyn Backend>, Error> {
    match device {
        Device::Auto => cpu::open(None, Threads::PerCore),
        Device::Cpu { isa, threads } => cpu::open(isa.as_deref(), *threads),
        Device::Gpu(index) => gpu::open(*index),
        // A GPU without layers may be missing.
        Device::Split { isa, threads, n_gpu_layers: 0, .. } => cpu::open(isa.as_deref(), *threads),
        Device::Split { isa, threads, gpu, n_gpu_layers } => {
            let (first, second) = (cpu::open(isa.as_deref(), *threads)?, gpu::open(*gpu)?);
            Ok(Box::new(SplitBackend::new(first, second, *n_gpu_layers)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "gpu"))]
    #[test]
    fn a_gpu_is_refused_by_a_build_without_it() {
        let message = open(&Device::Gpu(1)).unwrap_err().to_string();
        assert_eq!(
            message,
            "invalid device: this build has no GPU backend; use cpu or auto instead of gpu:1, or build with the feature `gpu`"
        );
    }

    #[cfg(feature = "gpu")]
    #[test]
    fn a_gpu_that_is_not_there_is_refused() {
        let message = open(&Device::Gpu(99)).unwrap_err().to_string();
        assert!(message.contains("there is no GPU 99") || message.contains("no GPU was found"), "{message}");
    }

    #[cfg(feature = "cpu")]
    #[test]
    fn a_kernel_set_that_the_processor_lacks_is_refused_with_those_it_has() {
        assert_eq!(open(&Device::Auto).unwrap().name(), "cpu");
        let open = |isa: &str| open(&Device::Cpu { isa: Some(isa.to_owned()), threads: Threads::AtMost(1) });
        for isa in kernel_sets() {
            open(isa).unwrap();
        }
        let message = open("mmx").unwrap_err().to_string();
        assert!(message.contains("mmx") && message.contains("scalar"), "{message}");
    }
}
