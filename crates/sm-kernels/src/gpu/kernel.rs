//! Kernels: WGSL text behind constants, compiled once for each combination.

use std::collections::HashMap;
use std::fmt::{Display, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::adapters::Adapter;
use super::matrices::Matrices;
use crate::plan::PrepareError;

/// Bytes of parameters that a dispatch carries. More than 64 are not everywhere.
pub(crate) const PARAM_BYTES: u32 = 64;

/// The text of a kernel, put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// What the text begins with.
    directives: &'static str,
    text: String,
    exchanges: bool,
}

/// How the 64 lanes of a workgroup exchange values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    Memory,
    /// Within subgroups of 8 to 64 lanes, and between these through memory.
    Subgroups,
}

impl Exchange {
    /// What a device with these features offers.
    pub(crate) fn of(features: wgpu::Features, info: &wgpu::AdapterInfo) -> Self {
        let fit = info.subgroup_min_size >= 8 && info.subgroup_max_size <= 64;
        if features.contains(wgpu::Features::SUBGROUP) && fit { Self::Subgroups } else { Self::Memory }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Memory => include_str!("lanes.wgsl"),
            Self::Subgroups => include_str!("lanes_subgroup.wgsl"),
        }
    }
}

impl Source {
    /// Adds `const NAME = value`, an unsigned number.
    pub(crate) fn number(self, name: &str, value: usize) -> Self {
        self.line(&format!("const {name}: u32 = {value}u;"))
    }

    /// Adds a constant of single precision.
    pub(crate) fn float(self, name: &str, value: f32) -> Self {
        self.line(&format!("const {name}: f32 = {value:?}f;"))
    }

    /// Adds a constant that is true or false.
    pub(crate) fn flag(self, name: &str, value: impl Display) -> Self {
        self.line(&format!("const {name}: bool = {value};"))
    }

    /// Adds constants that name the values of another one: 0, 1, 2, ….
    pub(crate) fn names(self, names: &[&str]) -> Self {
        names.iter().enumerate().fold(self, |source, (value, name)| source.number(name, value))
    }

    /// Adds a file.
    pub(crate) fn text(self, text: &str) -> Self {
        self.line(text)
    }

    /// Names the types of cooperative matrices, and their side.
    pub(crate) fn matrices(mut self, matrices: Matrices) -> Self {
        self.directives = "enable f16;\nenable wgpu_cooperative_matrix;\n";
        let side = matrices.side;
        [("Rows", "f16, A"), ("Weights", "f16, B"), ("Sums", "f32, C")]
            .iter()
            .fold(self, |source, (name, of)| {
                source.line(&format!("alias {name} = coop_mat{side}x{side}<{of}>;"))
            })
            .number("SIDE", side as usize)
    }

    /// Says that lanes exchange values: the kernel is a function `run`, which calls those of `lanes.wgsl`.
    pub(crate) fn exchanging(mut self) -> Self {
        self.exchanges = true;
        self
    }

    /// Adds a line.
    pub(crate) fn line(mut self, line: &str) -> Self {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
        self
    }

    /// The whole text, for devices whose lanes exchange values in this way.
    pub(crate) fn whole(&self, exchange: Exchange) -> String {
        let exchanging = if self.exchanges { exchange.text() } else { "" };
        format!("{}{}{exchanging}", self.directives, self.text)
    }
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    Read,
    ReadWrite,
}

/// A kernel as an operation describes it.
#[derive(Clone, Debug)]
pub(crate) struct KernelSpec {
    /// For errors and profilers.
    pub(crate) name: &'static str,
    pub(crate) source: Source,
    /// Its buffers, by binding number.
    pub(crate) bindings: &'static [Binding],
}

/// A compiled kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl Kernel {
    /// The kernel's buffers, in the order of its bindings.
    pub(crate) fn bind(&self, device: &wgpu::Device, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let entries: Vec<_> = buffers
            .iter()
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let layout = &self.layout;
        device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }
}

/// The compiled kernels of a device, by their text.
#[derive(Debug)]
pub(crate) struct Kernels {
    compiled: Mutex<HashMap<String, Arc<Kernel>>>,
    /// What the driver keeps of them.
    cache: Option<wgpu::PipelineCache>,
    exchange: Exchange,
}

impl Kernels {
    /// None yet; the driver may have compiled them in an earlier run.
    pub(crate) fn new(cache: Option<wgpu::PipelineCache>, exchange: Exchange) -> Self {
        Self { compiled: Mutex::default(), cache, exchange }
    }

    /// What the driver compiled, for the next run.
    pub(crate) fn pipelines(&self) -> Option<Vec<u8>> {
        self.cache.as_ref()?.get_data()
    }

    /// Compiles a kernel for a device of `adapter`, unless it was compiled before.
    ///
    /// # Errors
    /// If the driver refuses it.
    pub(crate) fn get(
        &self,
        device: &wgpu::Device,
        adapter: &Adapter,
        spec: &KernelSpec,
    ) -> Result<Arc<Kernel>, PrepareError> {
        let text = spec.source.whole(self.exchange);
        let known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = known.get(&text) {
            return Ok(Arc::clone(kernel));
        }
        drop(known);
        // naga panics at some texts that it should refuse.
        let compiled =
            catch_unwind(AssertUnwindSafe(|| compile(device, self.cache.as_ref(), adapter, spec, &text)));
        let kernel =
            Arc::new(compiled.unwrap_or_else(|_| Err(refused(adapter, spec, "its translation failed")))?);
        let mut known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(text, Arc::clone(&kernel));
        Ok(kernel)
    }
}

fn compile(
    device: &wgpu::Device,
    cache: Option<&wgpu::PipelineCache>,
    adapter: &Adapter,
    spec: &KernelSpec,
    text: &str,
) -> Result<Kernel, PrepareError> {
    let entry = |(binding, &access): (u32, &Binding)| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only: access == Binding::Read },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = (0..).zip(spec.bindings).map(entry).collect();
    let invalid = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let label = Some(spec.name);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label,
        source: wgpu::ShaderSource::Wgsl(text.into()),
    });
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: PARAM_BYTES,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache,
    });
    let error = pollster::block_on(internal.pop()).or(pollster::block_on(invalid.pop()));
    if let Some(error) = error {
        return Err(refused(adapter, spec, error));
    }
    Ok(Kernel { pipeline, layout })
}

fn refused(adapter: &Adapter, spec: &KernelSpec, reason: impl Display) -> PrepareError {
    let name = spec.name;
    PrepareError::Unsupported(format!("{adapter} refuses the kernel {name}: {reason}; use --device cpu"))
}
