//! Where plans run: backends, executors, and what they need.

use std::fmt;
use std::ops::Range;

use sm_tensor::PageId;

use super::{Plan, Profile, StepBatch};

/// The tensors that a plan names.
pub trait WeightSource: Sync {
    /// Rows of a tensor, row-major, stored as its [`MatrixPart`](super::MatrixPart) says. A source that does not have them
    /// in memory puts them into `buffer`, whatever is there, and leaves it for the next call.
    ///
    /// # Errors
    /// If the tensor is missing, has fewer rows, or cannot be read.
    fn matrix_rows<'a>(
        &'a self,
        tensor: &str,
        rows: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], WeightError>;

    /// A one-dimensional tensor as `f32`.
    ///
    /// # Errors
    /// If the tensor is missing.
    fn vector(&self, tensor: &str) -> Result<Vec<f32>, WeightError>;

    /// The rows of a tensor have been read: a source that had to bring them into memory need not keep them there. They
    /// can still be asked for.
    fn release(&self, _tensor: &str) {}

    /// The `n_bytes` that a backend has made of all matrices before, in the form that it calls `form`, if the source keeps them.
    fn packed(&self, _form: &str, _n_bytes: usize) -> Option<PackedBytes> {
        None
    }

    /// Takes what a backend has made of all matrices, to be kept.
    fn keep_packed(&self, _form: &str, _bytes: &[u8]) {}
}

/// What a backend has made of weights, kept somewhere: aligned to 64 bytes.
pub struct PackedBytes(Box<dyn AsRef<[u8]> + Send + Sync>);

impl PackedBytes {
    /// Bytes that stay where they are.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Box::new(bytes))
    }
}

impl AsRef<[u8]> for PackedBytes {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for PackedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} packed bytes", self.as_ref().len())
    }
}

/// A tensor that could not be delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// No tensor has the name.
    #[error("the model has no tensor {tensor:?}")]
    Missing {
        /// The name in the weight source.
        tensor: String,
    },
    /// The tensor has another shape than the plan declares.
    #[error("tensor {tensor:?} has {actual} values but the plan needs {expected}")]
    Size {
        /// The name in the weight source.
        tensor: String,
        /// Values needed.
        expected: usize,
        /// Values there.
        actual: usize,
    },
    /// The bytes could not be turned into values.
    #[error("tensor {tensor:?}: {reason}")]
    Unreadable {
        /// The name in the weight source.
        tensor: String,
        /// What was wrong.
        reason: String,
    },
    /// Nobody wants the weights any more.
    #[error("loading was cancelled")]
    Cancelled,
}

/// How keys and values are stored in the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvDType {
    /// Half precision.
    #[default]
    F16,
    /// Single precision.
    F32,
    /// A byte and, for each 32 values of a head, a scale.
    Q8_0,
}

impl KvDType {
    /// Bytes that the key or the value of one position and head takes.
    pub const fn head_bytes(self, head_dim: usize) -> usize {
        head_dim.saturating_mul(self.element_bytes()).saturating_add(self.scale_bytes(head_dim))
    }

    pub(crate) const fn element_bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::Q8_0 => 1,
        }
    }

    /// Of the scales of a head.
    pub(crate) const fn scale_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F16 | Self::F32 => 0,
            Self::Q8_0 => head_dim.div_ceil(32).saturating_mul(size_of::<f32>()),
        }
    }
}

/// How large the steps may be that an executor is prepared for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows in a step.
    pub max_tokens: usize,
    /// Rows of a step whose logits are wanted.
    pub max_outputs: usize,
    /// Spans in a step.
    pub max_sequences: usize,
    /// Pages in the KV pool.
    pub n_pages: usize,
    /// How keys and values are stored.
    pub kv_dtype: KvDType,
}

/// How far [`Backend::prepare`] has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Weight bytes packed so far.
    pub done_bytes: u64,
    /// Weight bytes in total.
    pub total_bytes: u64,
}

/// Why a plan could not be made ready to run.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// A weight is missing or has another shape.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// The plan breaks a rule of the vocabulary.
    #[error("invalid plan at op {op}: {reason}")]
    InvalidPlan {
        /// Index of the op.
        op: usize,
        /// The broken rule.
        reason: String,
    },
    /// A limit is zero or too large.
    #[error("invalid limit {name} = {value}: {reason}")]
    InvalidLimit {
        /// The field of [`Limits`].
        name: &'static str,
        /// Its value.
        value: usize,
        /// What it must be.
        reason: &'static str,
    },
    /// The memory cannot be had.
    #[error(
        "{what} needs {needed_bytes} bytes, which the system refuses; reduce the context or the number of sequences"
    )]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// How much.
        needed_bytes: usize,
    },
    /// The machine lacks what was asked for.
    #[error("{0}")]
    Unsupported(String),
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The step does not fit the plan or the limits.
    #[error("invalid step: {reason}")]
    InvalidBatch {
        /// What was wrong, with the numbers.
        reason: String,
    },
    /// A worker panicked; pages written by this step are undefined, all others are intact.
    #[error("a worker panicked in the step: {message}")]
    WorkerPanicked {
        /// The panic's message.
        message: String,
    },
    /// `wait` without `submit`, or `submit` twice.
    #[error("steps are not taken in turn: each is submitted once, then waited for")]
    NotSubmitted,
}

/// Bytes that a plan takes on a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeeds {
    /// Packed weights.
    pub weight_bytes: usize,
    /// The KV pool.
    pub kv_bytes: usize,
    /// Activations and scratch.
    pub activation_bytes: usize,
}

impl MemoryNeeds {
    /// All of it.
    pub fn total_bytes(&self) -> usize {
        self.weight_bytes.saturating_add(self.kv_bytes).saturating_add(self.activation_bytes)
    }
}

/// What an executor is and holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorInfo {
    /// The backend and its kernel set, for instance `cpu avx512-vnni`; part of the fingerprint.
    pub kernels: String,
    /// Workers or queues.
    pub n_workers: usize,
    /// Rows that products compute together: one row more than a multiple of it costs about as much as several.
    pub row_group: usize,
    /// Bytes of packed weights.
    pub weight_bytes: usize,
    /// Bytes of the KV pool.
    pub kv_bytes: usize,
    /// Bytes of activations and scratch.
    pub activation_bytes: usize,
}

/// The logits of a step: `[n_outputs, vocab_size]`, rows `stride` values apart.
#[derive(Debug)]
pub struct Logits<'a> {
    values: &'a mut [f32],
    stride: usize,
    vocab_size: usize,
}

impl<'a> Logits<'a> {
    /// Rows of `vocab_size` values, `stride` apart.
    ///
    /// # Panics
    /// If a row is longer than the stride or the values are no whole number of rows.
    pub fn new(values: &'a mut [f32], stride: usize, vocab_size: usize) -> Self {
        assert!(
            0 < vocab_size && vocab_size <= stride,
            "rows of {vocab_size} values overlap at stride {stride}"
        );
        assert!(values.len().is_multiple_of(stride), "{} values are no whole rows of {stride}", values.len());
        Self { values, stride, vocab_size }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.stride
    }

    /// One row, `[vocab_size]`.
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.vocab_size]
    }

    /// One row, `[vocab_size]`, to be changed in place.
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.stride..][..self.vocab_size]
    }
}

/// A place where plans can run.
pub trait Backend: fmt::Debug {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// What [`Backend::prepare`] will take for a plan, found without taking it.
    ///
    /// # Errors
    /// If the plan or a limit is invalid, or a size overflows.
    fn memory_needs(&self, plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError>;

    /// Bytes that the device could give now; `None` if it does not tell.
    fn available_bytes(&self) -> Option<u64> {
        None
    }

    /// Packs the weights, chooses kernels and places buffers; `progress` is called now and then.
    ///
    /// # Errors
    /// If the plan is invalid, a weight is missing or memory is short.
    fn prepare(
        &self,
        plan: &Plan,
        weights: &dyn WeightSource,
        limits: Limits,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Box<dyn Executor>, PrepareError>;
}

/// A plan made ready to run.
pub trait Executor: Send + fmt::Debug {
    /// What it is and holds.
    fn info(&self) -> &ExecutorInfo;

    /// The limits it was prepared for.
    fn limits(&self) -> &Limits;

    /// Starts a step.
    ///
    /// # Errors
    /// If the batch does not fit; nothing was computed then.
    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError>;

    /// Waits for the submitted step and gives its logits.
    ///
    /// # Errors
    /// If the step failed.
    fn wait(&mut self) -> Result<Logits<'_>, ExecError>;

    /// Copies pages, all layers, each pair `(from, to)` in order.
    ///
    /// # Errors
    /// If a page is out of range.
    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError>;

    /// Bytes of a page, all layers, as [`Executor::read_page`] gives them; 0 if there is nothing in a page.
    fn page_bytes(&self) -> usize;

    /// Copies a page out, all layers: `[page_bytes]`, which executors of equal plans, weights and fingerprints can take back.
    ///
    /// # Errors
    /// If the page is out of range or `bytes` has another length.
    fn read_page(&mut self, page: PageId, bytes: &mut [u8]) -> Result<(), ExecError>;

    /// Overwrites a page, all layers, with `[page_bytes]` that [`Executor::read_page`] gave.
    ///
    /// # Errors
    /// As [`Executor::read_page`].
    fn write_page(&mut self, page: PageId, bytes: &[u8]) -> Result<(), ExecError>;

    /// Lets the system have the memory of pages whose content nobody needs, ascending, until they are used again. An executor
    /// need not be able to.
    ///
    /// # Errors
    /// If a page is out of range.
    fn release_pages(&mut self, _pages: &[PageId]) -> Result<(), ExecError> {
        Ok(())
    }

    /// Runs a step op by op and shows each op's index and its output in `f32`, `[rows, width]` without padding
    /// (int8 forms decoded). For tests and debugging: slow, and it allocates.
    ///
    /// # Errors
    /// As [`Executor::submit`] and [`Executor::wait`].
    fn trace(&mut self, batch: &StepBatch<'_>, visit: &mut dyn FnMut(usize, &[f32]))
    -> Result<(), ExecError>;

    /// Measures where the time of the steps goes that are submitted from now on. An executor need not be able to.
    fn start_profile(&mut self) {}

    /// Ends the measurement and gives what it found, if one was started.
    fn finish_profile(&mut self) -> Option<Profile> {
        None
    }
}
