//! Where plans run: a backend packs the weights once and prepares executors that share them.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::Plan;
use super::executor::{ExecError, Executor, Limits};
use super::source::{WeightError, WeightSource};

/// A place where plans can run.
pub trait Backend: fmt::Debug + Send + Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// What [`Backend::prepare`] will take, computed without taking it.
    ///
    /// # Errors
    /// If the plan or a limit is invalid, or a size overflows.
    fn memory_needs(&self, plan: &Plan, limits: &Limits) -> Result<MemoryNeeds, PrepareError>;

    /// Bytes that the device could give now; `None` if it does not tell.
    fn available_bytes(&self) -> Option<u64> {
        None
    }

    /// Reads the weights of a plan and packs them for the device; `progress` is called now and then.
    ///
    /// # Errors
    /// If the plan is invalid, a weight is missing or memory is short.
    fn load(
        &self,
        plan: &Plan,
        source: &dyn WeightSource,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Arc<dyn Weights>, PrepareError>;

    /// Makes a plan ready to run on loaded weights: chooses kernels, places buffers, allocates the cache. Executors with
    /// different limits, and of plans that differ only in their context length, share one copy of the weights.
    ///
    /// # Errors
    /// If the plan is invalid, the weights are those of another plan or backend, or memory is short.
    fn prepare_loaded(
        &self,
        plan: &Plan,
        weights: &Arc<dyn Weights>,
        limits: Limits,
    ) -> Result<Box<dyn Executor>, PrepareError>;

    /// Makes a plan ready to run: [`Backend::load`] and [`Backend::prepare_loaded`] at once, for a single executor.
    ///
    /// # Errors
    /// As both.
    fn prepare(
        &self,
        plan: &Plan,
        source: &dyn WeightSource,
        limits: Limits,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Box<dyn Executor>, PrepareError> {
        // What is impossible is refused before minutes are spent on packing.
        self.memory_needs(plan, &limits)?;
        self.prepare_loaded(plan, &self.load(plan, source, progress)?, limits)
    }
}

/// Weights packed for a backend, shared by its executors. A backend gets its own type back by upcasting to [`Any`].
pub trait Weights: Any + fmt::Debug + Send + Sync {
    /// Bytes that they take.
    fn n_bytes(&self) -> usize;

    /// All that steps compute with, in pieces whose order the plan determines: what a fingerprint has to cover.
    fn bytes(&self) -> Vec<&[u8]>;

    /// Checks that the bytes are still those that were loaded.
    ///
    /// # Errors
    /// [`ExecError::WeightsLost`] if they lie in a file that was changed or cut.
    fn check_intact(&self) -> Result<(), ExecError> {
        Ok(())
    }
}

/// How far [`Backend::load`] has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Weight bytes packed so far.
    pub done_bytes: u64,
    /// Weight bytes in total.
    pub total_bytes: u64,
}

/// Bytes that a plan takes on a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNeeds {
    /// Packed weights.
    pub weight_bytes: usize,
    /// The pools of pages and states.
    pub kv_bytes: usize,
    /// Activations, scratch, and the logits in flight.
    pub activation_bytes: usize,
}

impl MemoryNeeds {
    /// All of it.
    pub fn total_bytes(&self) -> usize {
        self.weight_bytes.saturating_add(self.kv_bytes).saturating_add(self.activation_bytes)
    }
}

/// Why a plan could not be made ready to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// The system refuses the memory.
    #[error(
        "{what} needs {needed_bytes} bytes, which the system refuses; reduce the context or the number of sequences"
    )]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// How much.
        needed_bytes: usize,
    },
    /// The weights were loaded for another plan or by another backend.
    #[error("the weights do not belong to this plan: {reason}")]
    OtherWeights {
        /// What differs.
        reason: String,
    },
    /// The backend or the machine lacks what was asked for.
    #[error("{0}")]
    Unsupported(String),
}
