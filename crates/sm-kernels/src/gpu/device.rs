//! An open device: its limits, its memory, and what went wrong on it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::adapters::{self, Adapter};
use super::driver_cache;
use super::form::Form;
use super::kept::Kept;
use super::kernel::{Exchange, Kernel, KernelSpec, Kernels, PARAM_BYTES};
use super::matrices::{self, Matrices};
use crate::plan::{ExecError, PrepareError};

/// How long a step may take before the device counts as hung.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a buffer that is made to see whether there is room, and how many there may be: 4 TB.
const MAX_PROBE_BYTES: u64 = 1 << 30;
const MAX_PROBES: u64 = 4096;

/// Devices that are open, by the places of their adapters: models on one GPU share it, and the kernels compiled for it.
static OPEN: Mutex<BTreeMap<usize, Weak<Gpu>>> = Mutex::new(BTreeMap::new());

/// An open device.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub(crate) adapter: Adapter,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    kernels: Kernels,
    pub(crate) kept: Kept,
    /// The largest part of a buffer that a kernel can see.
    pub(crate) max_binding_bytes: u64,
    /// Whether products with quantized weights are of int8.
    pub(crate) int8: bool,
    /// Those that products use, unless they were found to be wrong.
    matrices: Option<Matrices>,
    max_buffer_bytes: u64,
    health: Arc<Health>,
}

/// What a GPU does without that not every GPU has: to test.
#[derive(Clone, Copy, Debug)]
pub struct Restriction {
    /// Bytes of a buffer that a kernel sees.
    pub max_binding_bytes: u64,
    /// Whether products may be of int8.
    pub int8: bool,
    /// Whether lanes may exchange values within subgroups.
    pub subgroups: bool,
    /// Whether products may be of cooperative matrices, which need subgroups.
    pub matrices: bool,
}

impl Restriction {
    /// Uses all there is.
    pub const NONE: Self = Self { max_binding_bytes: u64::MAX, int8: true, subgroups: true, matrices: true };

    /// Uses what every GPU has.
    pub const PLAIN: Self =
        Self { max_binding_bytes: u64::MAX, int8: false, subgroups: false, matrices: false };

    fn features(self) -> wgpu::Features {
        let mut features = wgpu::Features::all();
        features.set(wgpu::Features::SUBGROUP, self.subgroups);
        features.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, self.matrices);
        features
    }
}

/// What the driver reported, in callbacks.
#[derive(Debug, Default)]
struct Health {
    is_broken: AtomicBool,
    reason: Mutex<String>,
}

impl Health {
    /// Keeps the first report.
    fn report(&self, reason: String) {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            *known = reason;
        }
        self.is_broken.store(true, Ordering::Release);
    }
}

impl Gpu {
    /// The device of an adapter, by its place among [`Adapter::all`]: the one that is open, unless it is broken.
    ///
    /// # Errors
    /// As [`Gpu::open`].
    pub(crate) fn shared(index: usize, keep_in: Option<&Path>) -> Result<Arc<Self>, PrepareError> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = open.get(&index).and_then(Weak::upgrade);
        if let Some(gpu) = known.filter(|gpu| gpu.check().is_ok()) {
            return Ok(gpu);
        }
        let gpu = Self::open(index, keep_in, Restriction::NONE)?;
        open.insert(index, Arc::downgrade(&gpu));
        Ok(gpu)
    }

    /// Opens an adapter by its place among [`Adapter::all`], of which files are kept in a folder, as a device that has no more than
    /// `restriction` lets it have.
    ///
    /// # Errors
    /// If there is no such adapter, or it lacks what kernels need.
    pub(crate) fn open(
        index: usize,
        keep_in: Option<&Path>,
        restriction: Restriction,
    ) -> Result<Arc<Self>, PrepareError> {
        let mut found = adapters::found();
        if found.len() <= index {
            return Err(PrepareError::Unsupported(no_adapter(index, &found)));
        }
        let (adapter, opened) = found.swap_remove(index);
        let features = wgpu::Features::IMMEDIATES;
        let available = opened.features() & restriction.features();
        let matrices = adapter.capabilities.matrices().filter(|_| available.contains(Matrices::FEATURES));
        // For profiles, for faster starts, and for sums of lanes.
        let optional =
            wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE | wgpu::Features::SUBGROUP;
        let optional = available & if matrices.is_some() { optional | Matrices::FEATURES } else { optional };
        let exchange = Exchange::of(optional, &opened.get_info());
        let limits = opened.limits();
        if !opened.features().contains(features) || limits.max_immediate_size < PARAM_BYTES {
            let reason = format!(
                "{adapter} passes {} bytes of parameters to a kernel, and {PARAM_BYTES} are needed; use --device cpu",
                limits.max_immediate_size
            );
            return Err(PrepareError::Unsupported(reason));
        }
        let max_binding_bytes = restriction.max_binding_bytes.min(adapter.capabilities.max_binding_bytes);
        let max_buffer_bytes = limits.max_buffer_size;
        let int8 = restriction.int8 && adapter.capabilities.int8;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("smallmind"),
            required_features: features | optional,
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            experimental_features: matrices.map_or_else(Default::default, |_| matrices::experimental()),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(opened.request_device(&descriptor))
            .map_err(|error| PrepareError::Unsupported(format!("{adapter} cannot be opened: {error}")))?;
        let health = Arc::new(Health::default());
        let (errors, lost) = (Arc::clone(&health), Arc::clone(&health));
        // Without a handler, wgpu panics.
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| errors.report(error.to_string())));
        device.set_device_lost_callback(move |reason, message| lost.report(format!("{reason:?}: {message}")));
        let kept = Kept::new(keep_in, &adapter);
        // Nothing compiles twice in a run, so that a cache that is not kept has no use.
        let cache = keep_in.and_then(|_| driver_cache::open(&device, kept.pipelines().as_deref()));
        let kernels = Kernels::new(cache, exchange);
        Ok(Arc::new(Self {
            adapter,
            device,
            queue,
            kernels,
            kept,
            max_binding_bytes,
            int8,
            matrices,
            max_buffer_bytes,
            health,
        }))
    }

    /// The cooperative matrices of the device, unless a test found them to be wrong.
    pub(crate) fn matrices(&self) -> Option<Matrices> {
        self.matrices.filter(|_| self.kept.matrices_error().is_none())
    }

    /// The cooperative matrices that multiply by weights of a form.
    pub(crate) fn matrices_for(&self, form: Form) -> Option<Matrices> {
        self.matrices().filter(|_| form.may_be_halves())
    }

    /// Keeps what the driver compiled.
    pub(crate) fn keep_pipelines(&self) {
        if let Some(data) = self.kernels.pipelines() {
            self.kept.keep_pipelines(&data);
        }
    }

    /// Whether the device still does what it is told.
    ///
    /// # Errors
    /// What the driver reported first: nothing that was computed since can be trusted.
    pub(crate) fn check(&self) -> Result<(), ExecError> {
        if !self.health.is_broken.load(Ordering::Acquire) {
            return Ok(());
        }
        let reason = self.health.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(ExecError::DeviceLost { reason })
    }

    /// As [`Gpu::check`], while a model is loaded.
    ///
    /// # Errors
    /// As [`Gpu::check`].
    pub(crate) fn check_loading(&self) -> Result<(), PrepareError> {
        self.check().map_err(|error| PrepareError::Unsupported(format!("{}: {error}", self.adapter)))
    }

    /// Waits for a submission, or for all of them.
    ///
    /// # Errors
    /// If the device is broken or does not finish in a minute.
    pub(crate) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), ExecError> {
        let poll = wgpu::PollType::Wait { submission_index: submission, timeout: Some(TIMEOUT) };
        if let Err(error) = self.device.poll(poll) {
            let reason = format!("it did not finish a step in {} s: {error}", TIMEOUT.as_secs());
            self.health.report(reason);
        }
        self.check()
    }

    /// A buffer of zeros of at least `n_bytes`.
    ///
    /// # Errors
    /// If it is larger than a kernel can see, or the device refuses the memory.
    pub(crate) fn buffer(&self, what: &'static str, n_bytes: u64) -> Result<wgpu::Buffer, PrepareError> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        if self.max_binding_bytes < n_bytes {
            return Err(PrepareError::Unsupported(format!(
                "{what} needs {n_bytes} bytes in one piece and {} gives at most {}; reduce the context or the number of sequences",
                self.adapter, self.max_binding_bytes
            )));
        }
        self.allocate(what, n_bytes, usage)
    }

    /// A buffer by which the host reads `n_bytes`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub(crate) fn read_buffer(&self, what: &'static str, n_bytes: u64) -> Result<wgpu::Buffer, PrepareError> {
        self.allocate(what, n_bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
    }

    /// A buffer that time stamps of `n_bytes` are resolved into.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub(crate) fn query_buffer(
        &self,
        what: &'static str,
        n_bytes: u64,
    ) -> Result<wgpu::Buffer, PrepareError> {
        self.allocate(what, n_bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)
    }

    fn allocate(
        &self,
        what: &'static str,
        n_bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, PrepareError> {
        let size = n_bytes.max(16).next_multiple_of(16);
        let refused = PrepareError::OutOfMemory { what, needed_bytes: n_bytes as usize };
        if self.max_buffer_bytes < size {
            return Err(refused);
        }
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        });
        if pollster::block_on(memory.pop()).is_some() {
            return Err(refused);
        }
        self.check_loading()?;
        Ok(buffer)
    }

    /// Whether buffers of `n_bytes` in all can be made.
    pub(crate) fn has_room(&self, n_bytes: u64) -> bool {
        let piece = self.max_binding_bytes.min(MAX_PROBE_BYTES);
        let n_pieces = n_bytes.div_ceil(piece);
        if n_pieces > MAX_PROBES {
            return false;
        }
        let pieces = (0..n_pieces).map(|index| self.buffer("room", piece.min(n_bytes - index * piece)));
        pieces.collect::<Result<Vec<_>, _>>().is_ok()
    }

    /// A buffer with contents that fit the queue's staging memory.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub(crate) fn buffer_of(&self, what: &'static str, words: &[u32]) -> Result<wgpu::Buffer, PrepareError> {
        let buffer = self.buffer(what, size_of_val(words) as u64)?;
        self.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(words));
        Ok(buffer)
    }

    /// A kernel, compiled once.
    ///
    /// # Errors
    /// If the driver refuses it.
    pub(crate) fn kernel(&self, spec: &KernelSpec) -> Result<Arc<Kernel>, PrepareError> {
        self.kernels.get(&self.device, &self.adapter, spec)
    }

    /// The buffers of a kernel, in the order of its bindings.
    pub(crate) fn bind(&self, kernel: &Kernel, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        kernel.bind(&self.device, buffers)
    }

    /// Makes the device unusable, as a driver that crashes does.
    pub(crate) fn destroy(&self) {
        self.device.destroy();
    }
}

fn no_adapter(index: usize, found: &[(Adapter, wgpu::Adapter)]) -> String {
    if found.is_empty() {
        return "no GPU was found: no driver for Vulkan, Metal or DX12 offers one; use --device cpu"
            .to_owned();
    }
    let list: Vec<_> =
        found.iter().enumerate().map(|(index, (adapter, _))| format!("{index}: {adapter}")).collect();
    format!("there is no GPU {index}; this machine has {}", list.join(", "))
}
