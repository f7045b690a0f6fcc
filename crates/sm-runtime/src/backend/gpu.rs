//! The GPU backend.

use std::path::PathBuf;
use std::sync::OnceLock;

use sm_cache::ByteSize;
use sm_kernels::plan::{Backend, MemoryNeeds};
use sm_kernels::{Adapter, AdapterKind, GpuBackend};
use tracing::{info, warn};

use super::Gpu;
use crate::Error;

/// The GPU of an index, the fastest kind first. One that this version has not seen with its driver is tested first: wrong tokens are
/// worse than a slow start.
///
/// # Errors
/// If there is no such GPU, it lacks what the kernels need, or fails its test.
pub(super) fn open(index: usize) -> Result<Box<dyn Backend>, Error> {
    let backend = open_keeping(index)?;
    let adapter = backend.adapter();
    if adapter.kind == AdapterKind::Software {
        warn!("GPU {index} is {adapter}: it runs on the processor, slower than --device cpu");
    }
    test_if_new(index, &backend)?;
    Ok(Box::new(backend))
}

fn test_if_new(index: usize, backend: &GpuBackend) -> Result<(), Error> {
    if backend.tested().is_none() {
        info!("testing the kernels on GPU {index}, which is new: {}", backend.adapter());
        backend.self_test().map_err(|error| invalid(&error))?;
    }
    Ok(())
}

/// The first GPU, if it is one and has room.
pub(super) fn automatic(
    needs: impl Fn(&dyn Backend) -> Result<MemoryNeeds, Error>,
) -> Option<Box<dyn Backend>> {
    let open = || {
        check_kind(first_gpu())?;
        let backend = open_keeping(0).map_err(|error| error.to_string())?;
        let needed = needs(&backend).map_err(|error| error.to_string())?.total_bytes() as u64;
        if !backend.has_room(needed) {
            return Err(format!("{} has no room for {}", backend.adapter(), ByteSize(needed)));
        }
        test_if_new(0, &backend).map_err(|error| error.to_string())?;
        Ok(Box::new(backend) as Box<dyn Backend>)
    };
    open().inspect_err(|reason| info!("device auto is the CPU: {reason}")).ok()
}

/// The first GPU of this machine. Looked up once: that takes milliseconds, and every model that is loaded asks.
fn first_gpu() -> Option<&'static Adapter> {
    static FIRST: OnceLock<Option<Adapter>> = OnceLock::new();
    FIRST.get_or_init(|| may_have_gpu().then(Adapter::all)?.into_iter().next()).as_ref()
}

/// Whether to look for a GPU: on Linux, each has a device file (`dxg` in WSL). To look loads every driver, which takes 50 MB, and some
/// write to the terminal.
fn may_have_gpu() -> bool {
    let has_device = |folder: &str, prefix: &str| {
        let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
    };
    let names = [("/dev/dri", "renderD"), ("/dev", "nvidia"), ("/dev", "dxg")];
    !cfg!(target_os = "linux") || names.iter().any(|(folder, prefix)| has_device(folder, prefix))
}

fn check_kind(first: Option<&Adapter>) -> Result<(), String> {
    match first {
        None => Err("this machine has no GPU with a driver for Vulkan, Metal or DX12".to_owned()),
        Some(adapter) if adapter.kind == AdapterKind::Software => Err(format!("{adapter} is no GPU")),
        Some(_) => Ok(()),
    }
}

/// Tests the GPU of an index: every kernel, against sums in double precision and the CPU. Takes seconds. Returns the number of values
/// that were compared.
///
/// # Errors
/// If there is no such GPU, its driver refuses a kernel, or a value is wrong.
pub fn test_gpu(index: usize) -> Result<usize, Error> {
    open_keeping(index)?.self_test().map_err(|error| invalid(&error))
}

/// The GPUs of this machine, in the order of the indices of [`Device::Gpu`](crate::Device::Gpu); `None` if this build has no GPU
/// backend.
pub fn gpus() -> Option<Vec<Gpu>> {
    let kept = kept_in();
    let gpu = |adapter: &Adapter| Gpu {
        name: adapter.to_string(),
        capabilities: adapter.capabilities.to_string(),
        tested: kept.as_ref().and_then(|dir| adapter.tested(dir)),
        matrices_error: kept.as_ref().and_then(|dir| adapter.matrices_error(dir)),
    };
    Some(Adapter::all().iter().map(gpu).collect())
}

fn open_keeping(index: usize) -> Result<GpuBackend, Error> {
    let opened = match kept_in() {
        Some(folder) => GpuBackend::open_keeping(index, &folder),
        None => GpuBackend::open(index),
    };
    opened.map_err(|error| invalid(&error))
}

fn invalid(error: &dyn std::error::Error) -> Error {
    Error::validation("device", error.to_string())
}

/// Where files of GPUs are kept that can be made again: in `SM_CACHE_DIR`, or in a folder where the system has such files.
fn kept_in() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_system = || {
        if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            variable("HOME").map(|home| home.join("Library/Caches"))
        } else {
            variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
        }
    };
    let cache = variable("SM_CACHE_DIR").or_else(|| of_system().map(|folder| folder.join("smallmind")));
    cache.map(|folder| folder.join("gpu"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sm_kernels::Capabilities;

    #[test]
    fn software_is_not_chosen() {
        let adapter = |kind| Adapter {
            name: "llvmpipe".to_owned(),
            kind,
            interface: "vulkan".to_owned(),
            driver: String::new(),
            capabilities: Capabilities::default(),
        };
        for kind in [AdapterKind::Discrete, AdapterKind::Integrated, AdapterKind::Virtual] {
            check_kind(Some(&adapter(kind))).unwrap();
        }
        let reason = check_kind(Some(&adapter(AdapterKind::Software))).unwrap_err();
        assert_eq!(reason, "llvmpipe (software, vulkan) is no GPU");
        assert!(check_kind(None).unwrap_err().contains("no GPU"));
    }
}
