//! The backend: opens a device, sends weights to it, and prepares executors that share them.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use super::adapters::Adapter;
use super::device::{Gpu, Restriction};
use super::executor::{GpuExecutor, activation_bytes};
use super::kv_pool::KvPool;
use super::weights::DeviceWeights;
use crate::plan::{
    Backend, Executor, Limits, MemoryNeeds, Plan, PrepareError, Progress, WeightSource, Weights,
};

/// The most rows of a step: an axis of a grid has no more workgroups.
const MAX_TOKENS: usize = 65_535;

/// Runs plans on a GPU.
///
/// ```no_run
/// use sm_kernels::{Adapter, GpuBackend};
///
/// for (index, adapter) in Adapter::all().iter().enumerate() {
///     println!("{index}: {adapter}");
/// }
/// let backend = GpuBackend::open(0)?;
/// # Ok::<(), sm_kernels::plan::PrepareError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GpuBackend {
    pub(super) gpu: Arc<Gpu>,
}

impl GpuBackend {
    /// Opens the adapter that has this place in [`Adapter::all`]. Backends of one adapter share its device.
    ///
    /// # Errors
    /// If there is no such adapter, or it lacks what the kernels need.
    pub fn open(index: usize) -> Result<Self, PrepareError> {
        Ok(Self { gpu: Gpu::shared(index, None)? })
    }

    /// As [`GpuBackend::open`], and keeps files in `dir` from run to run: what the driver compiled, and that
    /// [`GpuBackend::self_test`] was passed. If the device is open already, it keeps them where it began to.
    ///
    /// # Errors
    /// As [`GpuBackend::open`].
    pub fn open_keeping(index: usize, dir: &Path) -> Result<Self, PrepareError> {
        Ok(Self { gpu: Gpu::shared(index, Some(dir))? })
    }

    /// How many values [`GpuBackend::self_test`] found to be right in this or an earlier run of this version with this driver.
    pub fn tested(&self) -> Option<usize> {
        self.gpu.kept.tested()
    }

    /// Rows and columns of the cooperative matrices that products use: of halves, with sums in single precision. `None` if the
    /// adapter has none, or they did not pass [`GpuBackend::self_test`].
    pub fn matrix_side(&self) -> Option<usize> {
        self.gpu.matrices().map(|matrices| matrices.side as usize)
    }

    /// As [`GpuBackend::open`], but a device of its own, which a test may lose and restrict.
    ///
    /// # Errors
    /// As [`GpuBackend::open`].
    pub fn open_apart(index: usize, restriction: Restriction) -> Result<Self, PrepareError> {
        Ok(Self { gpu: Gpu::open(index, None, restriction)? })
    }

    /// Whether the device has room for `n_bytes`, beside what it holds. Found by taking the memory, which is given back: no interface
    /// tells it everywhere, and some drivers promise more than they have.
    pub fn has_room(&self, n_bytes: u64) -> bool {
        self.gpu.has_room(n_bytes)
    }

    /// The adapter.
    pub fn adapter(&self) -> &Adapter {
        &self.gpu.adapter
    }

    /// Makes the device unusable, as a driver that crashes does: to test. Every executor reports that it was lost.
    pub fn lose_device(&self) {
        self.gpu.destroy();
    }
}

impl Backend for GpuBackend {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn memory_needs(&self, plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError> {
        plan.validate()?;
        check_limits(limits)?;
        check_cache(plan)?;
        Ok(MemoryNeeds {
            weight_bytes: DeviceWeights::needed_bytes(plan),
            kv_bytes: KvPool::needed_bytes(&plan.cache, limits.n_pages, limits.kv_dtype),
            activation_bytes: activation_bytes(&self.gpu, plan, limits),
        })
    }

    fn load(
        &self,
        plan: &Plan,
        source: &dyn WeightSource,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Arc<dyn Weights>, PrepareError> {
        plan.validate()?;
        Ok(Arc::new(DeviceWeights::load(&self.gpu, plan, source, progress)?))
    }

    fn prepare_loaded(
        &self,
        plan: &Plan,
        weights: &Arc<dyn Weights>,
        limits: Limits,
    ) -> Result<Box<dyn Executor>, PrepareError> {
        plan.validate()?;
        check_limits(&limits)?;
        check_cache(plan)?;
        let other = |reason: &str| PrepareError::OtherWeights { reason: reason.to_owned() };
        let weights = (Arc::clone(weights) as Arc<dyn Any + Send + Sync>).downcast::<DeviceWeights>();
        let weights = weights.map_err(|_| other("another backend packed them"))?;
        if !Arc::ptr_eq(&weights.gpu, &self.gpu) {
            return Err(other("they are on another device"));
        }
        weights.check(plan)?;
        let executor = GpuExecutor::new(plan, weights, limits)?;
        self.gpu.keep_pipelines();
        Ok(Box::new(executor))
    }
}

/// Refuses what a sequence of the plan leaves behind, if this backend cannot keep it.
fn check_cache(plan: &Plan) -> Result<(), PrepareError> {
    plan.cache.states.first().map_or(Ok(()), |state| {
        Err(PrepareError::Unsupported(format!(
            "the GPU backend has no recurrent states yet, and the plan has {:?}; use --device cpu",
            state.name
        )))
    })
}

fn check_limits(limits: &Limits) -> Result<(), PrepareError> {
    let at_most_tokens = "must be at least 1 and at most max_tokens";
    let bounds = [
        ("max_tokens", limits.max_tokens, MAX_TOKENS, "must be from 1 to 65535"),
        ("max_outputs", limits.max_outputs, limits.max_tokens, at_most_tokens),
        ("max_sequences", limits.max_sequences, limits.max_tokens, at_most_tokens),
        ("n_pages", limits.n_pages, u32::MAX as usize, "must be at least 1 and fit 32 bits"),
    ];
    let broken = bounds.iter().find(|&&(_, value, most, _)| value == 0 || most < value);
    broken.map_or(Ok(()), |&(name, value, _, reason)| Err(PrepareError::InvalidLimit { name, value, reason }))
}
