//! A plan made ready to run: steps, pages and states.

use std::fmt;

use sm_tensor::{PageId, StateSlot};

use super::batch::{PAGE_LEN, StepBatch};
use super::cache::CacheLayout;
use super::kv_dtype::KvDType;
use super::output::StepOutput;
use super::profile::Profile;

/// The largest steps that an executor is prepared for, and the size of its pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows in a step.
    pub max_tokens: usize,
    /// Rows of a step with wanted outputs.
    pub max_outputs: usize,
    /// Spans in a step.
    pub max_sequences: usize,
    /// Pages in the KV pool.
    pub n_pages: usize,
    /// How keys and values are stored.
    pub kv_dtype: KvDType,
}

impl Limits {
    /// Limits for one sequence at a time of up to `context_len` positions, in steps of up to 512 rows, one of which
    /// gives an output. The pages are just enough.
    pub const fn one_sequence(context_len: usize) -> Self {
        Self {
            max_tokens: 512,
            max_outputs: 1,
            max_sequences: 1,
            n_pages: context_len.div_ceil(PAGE_LEN),
            kv_dtype: KvDType::F16,
        }
    }

    /// Slots in the pool of recurrent states: two snapshots of each sequence, and one for each row of a step whose state may
    /// be kept. 0 for a cache without states.
    pub fn n_state_slots(&self, cache: &CacheLayout) -> usize {
        if cache.states.is_empty() {
            return 0;
        }
        self.max_sequences.saturating_mul(2).saturating_add(self.max_outputs.max(self.max_sequences))
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The step does not fit the plan or the limits.
    #[error("invalid step: {reason}")]
    InvalidBatch {
        /// What was wrong, with the numbers.
        reason: String,
    },
    /// A worker panicked; pages and states written by this step are undefined, all others are intact.
    #[error("a worker panicked in the step: {message}")]
    WorkerPanicked {
        /// The panic's message.
        message: String,
    },
    /// `wait` without a submitted step, or `submit` beyond [`Executor::max_in_flight`].
    #[error("`submit` and `wait` must alternate: wait for each step once before submitting the next")]
    OutOfTurn,
    /// The system refuses memory for the step's logits.
    #[error("the logits of a step need {needed_bytes} bytes, which the system refuses")]
    OutOfMemory {
        /// How much.
        needed_bytes: usize,
    },
    /// The device is gone with everything on it: weights, pages, states. Every further call fails too.
    #[error("the device was lost: {reason}; load the model again")]
    DeviceLost {
        /// What the driver reported.
        reason: String,
    },
    /// The packed weights are no longer what was loaded, and nothing computed from them since can be trusted. Every further
    /// step fails too.
    #[error("{reason}; load the model again")]
    WeightsLost {
        /// What happened, and to which file.
        reason: String,
    },
}

impl ExecError {
    /// Whether every further step of the executor will fail too.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::DeviceLost { .. } | Self::WeightsLost { .. })
    }
}

/// What an executor is and holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutorInfo {
    /// The backend and its kernel set, for instance `cpu avx512-vnni`; part of the fingerprint of what it computes.
    pub kernels: String,
    /// Workers or queues.
    pub n_workers: usize,
    /// Rows that products compute together: one row more than a multiple of it costs about as much as several.
    pub row_group: usize,
    /// The largest K of which [`Wanted::TopK`](super::Wanted::TopK) is found where the logits are, without them leaving the device; 0
    /// where the host sees all logits anyway.
    pub max_top_k: usize,
    /// Bytes of packed weights, which other executors may share.
    pub weight_bytes: usize,
    /// Bytes of the pools of pages and states.
    pub kv_bytes: usize,
    /// Bytes of activations, scratch, and the logits in flight.
    pub activation_bytes: usize,
}

/// A plan made ready to run.
///
/// Steps are asynchronous: [`submit`](Executor::submit) starts one, [`wait`](Executor::wait) takes the result of the
/// oldest. Calls about pages and states take effect in the order of all calls: after the steps submitted before them,
/// before those submitted later.
pub trait Executor: Send + fmt::Debug {
    /// What it is and holds.
    fn info(&self) -> &ExecutorInfo;

    /// The limits it was prepared for.
    fn limits(&self) -> &Limits;

    /// Starts a step.
    ///
    /// # Errors
    /// If the batch does not fit, or as many steps as [`Executor::max_in_flight`] are under way; nothing is computed then.
    fn submit(&mut self, batch: &StepBatch<'_>) -> Result<(), ExecError>;

    /// Starts the step that follows the one submitted last, before its tokens are known: row `i` has the token that output `i`
    /// of that step, which wants its arg-max, will name. `batch` has some token there. Optional, for devices that work while
    /// the host reads results: see [`Executor::max_in_flight`].
    ///
    /// # Errors
    /// As [`Executor::submit`], and [`ExecError::OutOfTurn`] if no step is under way whose arg-max was wanted in as many rows.
    fn submit_next(&mut self, _batch: &StepBatch<'_>) -> Result<(), ExecError> {
        Err(ExecError::OutOfTurn)
    }

    /// Waits for the oldest step that was submitted and not waited for, and puts its outputs into `output`, replacing
    /// what was there. Reusing one `output` keeps steps free of allocations.
    ///
    /// # Errors
    /// If the step failed, or none was submitted. `output` has no outputs then.
    fn wait(&mut self, output: &mut StepOutput) -> Result<(), ExecError>;

    /// Submits a step and waits for it.
    ///
    /// # Errors
    /// As both.
    fn run(&mut self, batch: &StepBatch<'_>, output: &mut StepOutput) -> Result<(), ExecError> {
        self.submit(batch)?;
        self.wait(output)
    }

    /// Steps that can be submitted before the first is waited for. Where it is more than one, all but the first can be steps of
    /// [`Executor::submit_next`].
    fn max_in_flight(&self) -> usize {
        1
    }

    /// Copies pages, all layers, each pair `(from, to)` in order.
    ///
    /// # Errors
    /// If a page is out of range; nothing is copied then.
    fn copy_pages(&mut self, from_to: &[(PageId, PageId)]) -> Result<(), ExecError>;

    /// Bytes of a page, all layers, as [`Executor::read_pages`] gives them; 0 if pages hold nothing.
    fn page_bytes(&self) -> usize;

    /// Copies pages out, all layers: `bytes` is `[pages.len(), page_bytes]`. Executors of equal plans, weights and
    /// fingerprints can take them back.
    ///
    /// # Errors
    /// If a page is out of range or `bytes` has another length.
    fn read_pages(&mut self, pages: &[PageId], bytes: &mut [u8]) -> Result<(), ExecError>;

    /// Overwrites pages, all layers, with `[pages.len(), page_bytes]` that [`Executor::read_pages`] gave.
    ///
    /// # Errors
    /// As [`Executor::read_pages`].
    fn write_pages(&mut self, pages: &[PageId], bytes: &[u8]) -> Result<(), ExecError>;

    /// Returns the memory of unused pages, ascending, to the operating system until they are written again. Optional.
    ///
    /// # Errors
    /// If a page is out of range.
    fn release_pages(&mut self, _pages: &[PageId]) -> Result<(), ExecError> {
        Ok(())
    }

    /// Copies recurrent states, each pair `(from, to)` in order.
    ///
    /// # Errors
    /// If a slot is out of range; nothing is copied then.
    fn copy_states(&mut self, from_to: &[(StateSlot, StateSlot)]) -> Result<(), ExecError> {
        from_to.first().map_or(Ok(()), |(from, _)| Err(no_such_slot(*from)))
    }

    /// Bytes of a state slot as [`Executor::read_states`] gives them; 0 for plans without states.
    fn state_bytes(&self) -> usize {
        0
    }

    /// Slots in the pool of recurrent states; 0 for plans without states.
    fn n_state_slots(&self) -> usize {
        0
    }

    /// Copies states out: `bytes` is `[slots.len(), state_bytes]`, which executors of equal plans, weights and
    /// fingerprints can take back.
    ///
    /// # Errors
    /// If a slot is out of range or `bytes` has another length.
    fn read_states(&mut self, slots: &[StateSlot], _bytes: &mut [u8]) -> Result<(), ExecError> {
        slots.first().map_or(Ok(()), |slot| Err(no_such_slot(*slot)))
    }

    /// Overwrites states with `[slots.len(), state_bytes]` that [`Executor::read_states`] gave.
    ///
    /// # Errors
    /// As [`Executor::read_states`].
    fn write_states(&mut self, slots: &[StateSlot], _bytes: &[u8]) -> Result<(), ExecError> {
        slots.first().map_or(Ok(()), |slot| Err(no_such_slot(*slot)))
    }

    /// Runs a step op by op and shows each op's index and its first output in `f32`, `[rows, width]` without padding, also
    /// where the backend keeps another form of it. For tests and debugging: slow, and it allocates.
    ///
    /// # Errors
    /// As [`Executor::submit`] and [`Executor::wait`].
    fn trace(&mut self, batch: &StepBatch<'_>, visit: &mut dyn FnMut(usize, &[f32]))
    -> Result<(), ExecError>;

    /// Starts to measure where the time of the following steps goes. Optional.
    fn start_profile(&mut self) {}

    /// Ends the measurement and returns what it found; `None` if none was started.
    fn finish_profile(&mut self) -> Option<Profile> {
        None
    }
}

fn no_such_slot(slot: StateSlot) -> ExecError {
    ExecError::InvalidBatch { reason: format!("state slot {} but the pool has 0", slot.0) }
}
