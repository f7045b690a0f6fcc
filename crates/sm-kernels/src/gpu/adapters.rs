//! The adapters of this machine: what wgpu can open.

use std::fmt;
use std::path::Path;

use super::kept::Kept;
use super::matrices::Matrices;

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
    /// What it offers.
    pub capabilities: Capabilities,
}

/// What an adapter offers to kernels. How much memory it has, no interface tells everywhere:
/// [`GpuBackend::has_room`](super::GpuBackend::has_room) tries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Bytes of the largest buffer.
    pub max_buffer_bytes: u64,
    /// Bytes of a buffer that a kernel sees; larger tensors are cut.
    pub max_binding_bytes: u64,
    /// Bytes that the lanes of a workgroup share.
    pub max_workgroup_bytes: u32,
    /// Lanes of the smallest and the largest subgroup, if lanes exchange values within them.
    pub subgroup_lanes: Option<(u32, u32)>,
    /// Whether quantized weights are multiplied in int8.
    pub int8: bool,
    /// Rows and columns of its cooperative matrices, if products can use them.
    pub matrix_side: Option<u32>,
    /// Whether profiles have times by its own clock.
    pub timestamps: bool,
}

impl Capabilities {
    fn of(adapter: &wgpu::Adapter) -> Self {
        let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
        let lanes = (info.subgroup_min_size, info.subgroup_max_size);
        Self {
            max_buffer_bytes: limits.max_buffer_size,
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
            subgroup_lanes: features.contains(wgpu::Features::SUBGROUP).then_some(lanes),
            // Metal has no product of four bytes: naga writes it out, which takes more than products of floats.
            int8: info.backend != wgpu::Backend::Metal,
            matrix_side: Matrices::of(adapter).map(|matrices| matrices.side),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        }
    }

    /// Its cooperative matrices, if products can use them.
    pub(crate) fn matrices(&self) -> Option<Matrices> {
        Some(Matrices { side: self.matrix_side?, max_subgroup: self.subgroup_lanes?.1 })
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (buffer, binding) = (self.max_buffer_bytes >> 20, self.max_binding_bytes >> 20);
        write!(f, "buffers of {buffer} MiB, of which a kernel sees {binding} MiB, ")?;
        write!(f, "{} KiB for a workgroup", self.max_workgroup_bytes >> 10)?;
        match self.subgroup_lanes {
            Some((least, most)) if least == most => write!(f, "; subgroups of {least} lanes")?,
            Some((least, most)) => write!(f, "; subgroups of {least} to {most} lanes")?,
            None => f.write_str("; no subgroups")?,
        }
        match self.matrix_side {
            Some(side) => write!(f, ", cooperative matrices of {side} x {side}")?,
            None => f.write_str(", no cooperative matrices")?,
        }
        f.write_str(if self.int8 { ", products in int8" } else { ", no products in int8" })?;
        f.write_str(if self.timestamps { ", time stamps" } else { ", no time stamps" })
    }
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
    fn new(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Unknown,
        };
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        let interface = info.backend.to_str().to_owned();
        Self { name: info.name, kind, interface, driver, capabilities: Capabilities::of(adapter) }
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

    /// What the test found to be wrong with cooperative matrices, if that was kept in `dir`.
    pub fn matrices_error(&self, dir: &Path) -> Option<String> {
        Kept::new(Some(dir), self).matrices_error()
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
    let mut found: Vec<_> = adapters.into_iter().map(|adapter| (Adapter::new(&adapter), adapter)).collect();
    found.sort_by_key(|(adapter, _)| (adapter.kind, adapter.interface == "dx12"));
    found
}
