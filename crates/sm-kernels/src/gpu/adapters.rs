//! The adapters of this machine: what wgpu can open.

use std::fmt;
use std::path::Path;

use super::kept::Kept;

/// A GPU of this machine, or software that stands in for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// The name that the driver gives it.
    pub name: String,
    /// What it is.
    pub kind: AdapterKind,
    /// The interface by which it is reached: `vulkan`, `metal` or `dx12`.
    pub interface: String,
    /// The driver and its version, as the driver gives them.
    pub driver: String,
}

/// What an adapter is, the fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A card with memory of its own.
    Discrete,
    /// Shares the processor's memory.
    Integrated,
    /// The share of a GPU that a virtual machine has.
    Virtual,
    /// The driver does not tell.
    Unknown,
    /// Software on the processor: correct, and slower than the CPU backend.
    Software,
}

impl Adapter {
    fn new(info: &wgpu::AdapterInfo) -> Self {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Unknown,
        };
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        Self { name: info.name.clone(), kind, interface: info.backend.to_str().to_owned(), driver }
    }

    /// The adapters of this machine, the fastest kind first: the order that [`GpuBackend::open`](super::GpuBackend::open) counts in.
    pub fn all() -> Vec<Self> {
        found().into_iter().map(|(adapter, _)| adapter).collect()
    }

    /// How many values [`GpuBackend::self_test`](super::GpuBackend::self_test) of this version found to be right with this driver, if
    /// that was kept in `dir`; see [`GpuBackend::open_keeping`](super::GpuBackend::open_keeping).
    pub fn tested(&self, dir: &Path) -> Option<usize> {
        Kept::new(Some(dir), self).tested()
    }
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {}", self.name, self.kind, self.interface)?;
        if self.driver.is_empty() { f.write_str(")") } else { write!(f, ", {})", self.driver) }
    }
}

impl fmt::Display for AdapterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete",
            Self::Integrated => "integrated",
            Self::Virtual => "virtual",
            Self::Unknown => "of unknown kind",
            Self::Software => "software",
        })
    }
}

/// The adapters with what opens them. Of equals, Vulkan comes before DX12, whose fallback compiler lacks what kernels use.
pub(crate) fn found() -> Vec<(Adapter, wgpu::Adapter)> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let descriptor = descriptor.with_env();
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let mut found: Vec<_> =
        adapters.into_iter().map(|adapter| (Adapter::new(&adapter.get_info()), adapter)).collect();
    found.sort_by_key(|(adapter, _)| (adapter.kind, adapter.interface == "dx12"));
    found
}
