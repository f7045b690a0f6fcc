//! A backend made of two: the last layers of every plan run on the second, the ones before them on the first.
//!
//! The residual crosses once per step ([`SplitExecutor`]); weights, pages and activations of a layer lie where it runs. All
//! bits are those of the backend that computes them, so a result depends on how many layers each has, and on nothing else.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use super::backend::{Backend, MemoryNeeds, PrepareError, Progress, Weights};
use super::executor::{ExecError, Executor, Limits};
use super::source::{WeightError, WeightSource};
use super::{MatrixDecl, Plan, SplitError, SplitExecutor};

/// Runs plans on two backends, cut before the last layers.
///
/// ```
/// use sm_kernels::CpuBackend;
/// use sm_kernels::plan::{Backend, SplitBackend};
///
/// // The output layers and the last 20 layers on the second; a model with fewer layers runs there as a whole.
/// let backend = SplitBackend::new(Box::new(CpuBackend::new()), Box::new(CpuBackend::new()), 20);
/// assert_eq!(backend.name(), "cpu");
/// ```
#[derive(Debug)]
pub struct SplitBackend {
    first: Box<dyn Backend>,
    second: Box<dyn Backend>,
    /// Layers on the second.
    n_last: usize,
}

/// Where a plan runs.
enum Place<'a> {
    /// On one backend.
    Whole(&'a dyn Backend),
    /// Cut before the layer.
    Halves { layer: usize, first: Box<Plan>, second: Box<Plan> },
}

/// The weights of both halves.
#[derive(Debug)]
struct HalfWeights {
    first: Arc<dyn Weights>,
    second: Arc<dyn Weights>,
}

impl Weights for HalfWeights {
    fn n_bytes(&self) -> usize {
        self.first.n_bytes() + self.second.n_bytes()
    }

    fn bytes(&self) -> Vec<&[u8]> {
        [self.first.bytes(), self.second.bytes()].concat()
    }

    fn check_intact(&self) -> Result<(), ExecError> {
        self.first.check_intact()?;
        self.second.check_intact()
    }
}

/// A source for a half. What a backend packs of it is not what the whole's packed file holds, so it neither reads nor writes
/// that file.
struct HalfSource<'a>(&'a dyn WeightSource);

impl WeightSource for HalfSource<'_> {
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError> {
        self.0.matrix_rows(tensor, rows, buffer)
    }

    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError> {
        self.0.vector(tensor)
    }

    fn release(&self, tensor: &str) {
        self.0.release(tensor);
    }
}

impl SplitBackend {
    /// Runs the last `n_last` layers, and what follows them, on `second`: none and nothing of it if that is 0, and the whole
    /// plan if it has no more layers.
    pub fn new(first: Box<dyn Backend>, second: Box<dyn Backend>, n_last: usize) -> Self {
        Self { first, second, n_last }
    }

    fn place(&self, plan: &Plan) -> Result<Place<'_>, PrepareError> {
        plan.validate()?;
        let n_layers = plan.layer_starts.len();
        if self.n_last == 0 {
            return Ok(Place::Whole(&*self.first));
        }
        if self.n_last >= n_layers {
            return Ok(Place::Whole(&*self.second));
        }
        let layer = n_layers - self.n_last;
        let (first, second) = plan.split(layer)?;
        Ok(Place::Halves { layer, first: Box::new(first), second: Box::new(second) })
    }
}

impl Backend for SplitBackend {
    fn name(&self) -> &'static str {
        if self.n_last == 0 { self.first.name() } else { self.second.name() }
    }

    fn memory_needs(&self, plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError> {
        let (first, second) = match self.place(plan)? {
            Place::Whole(backend) => return backend.memory_needs(plan, limits),
            Place::Halves { first, second, .. } => (first, second),
        };
        let first = self.first.memory_needs(&first, &first_limits(limits))?;
        let second = self.second.memory_needs(&second, limits)?;
        Ok(MemoryNeeds {
            weight_bytes: first.weight_bytes.saturating_add(second.weight_bytes),
            kv_bytes: first.kv_bytes.saturating_add(second.kv_bytes),
            activation_bytes: first.activation_bytes.saturating_add(second.activation_bytes),
        })
    }

    fn available_bytes(&self) -> Option<u64> {
        // The two have memories of their own.
        match self.n_last {
            0 => self.first.available_bytes(),
            _ => self.first.available_bytes()?.checked_add(self.second.available_bytes()?),
        }
    }

    fn load(
        &self,
        plan: &Plan,
        source: &dyn WeightSource,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Arc<dyn Weights>, PrepareError> {
        let (first, second) = match self.place(plan)? {
            Place::Whole(backend) => return backend.load(plan, source, progress),
            Place::Halves { first, second, .. } => (first, second),
        };
        let [first_bytes, second_bytes] =
            [&first, &second].map(|half| half.matrices.iter().map(MatrixDecl::file_bytes).sum::<u64>());
        let of_both = |before: u64| {
            move |half: Progress| {
                progress(Progress {
                    done_bytes: before + half.done_bytes,
                    total_bytes: first_bytes + second_bytes,
                });
            }
        };
        let source = HalfSource(source);
        let first = self.first.load(&first, &source, &of_both(0))?;
        let second = self.second.load(&second, &source, &of_both(first_bytes))?;
        Ok(Arc::new(HalfWeights { first, second }))
    }

    fn prepare_loaded(
        &self,
        plan: &Plan,
        weights: &Arc<dyn Weights>,
        limits: Limits,
    ) -> Result<Box<dyn Executor>, PrepareError> {
        let (layer, first, second) = match self.place(plan)? {
            Place::Whole(backend) => return backend.prepare_loaded(plan, weights, limits),
            Place::Halves { layer, first, second } => (layer, first, second),
        };
        let weights = (Arc::clone(weights) as Arc<dyn Any + Send + Sync>).downcast::<HalfWeights>();
        let weights = weights.map_err(|_| PrepareError::OtherWeights {
            reason: "they were not loaded for two backends".to_owned(),
        })?;
        let first = self.first.prepare_loaded(&first, &weights.first, first_limits(&limits))?;
        let second = self.second.prepare_loaded(&second, &weights.second, limits)?;
        Ok(Box::new(SplitExecutor::new(plan, layer, first, second)?))
    }
}

/// The limits of the first half, which gives its residual for every row.
fn first_limits(limits: &Limits) -> Limits {
    Limits { max_outputs: limits.max_tokens, ..*limits }
}

impl From<SplitError> for PrepareError {
    fn from(error: SplitError) -> Self {
        Self::Unsupported(error.to_string())
    }
}
