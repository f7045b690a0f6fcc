//! The memory of all activations, and the typed regions in it.
//!
//! ```text
//! offset 0  │ logits │ rope angles │ buffers of the plan, overlapping by lifetime │ workspace of one op at a time │
//! ```
//!
//! A region is a matrix at a fixed place, laid out for the largest step; a smaller step uses its first rows. Places are
//! decided once, when a plan is bound, so a step allocates nothing. `access.rs` says who may touch which region when.
//!
//! The logits have an allocation of their own: they leave with the output of a step, and other memory takes their
//! place.
#![allow(unsafe_code, reason = "regions of one allocation become typed slices")]

mod access;
mod parts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;

pub(crate) use access::{Access, Footprint, KvUse, StepMemory, StepShares};
pub(crate) use parts::ProductSize;

use crate::cpu::allocation::{ALIGN, Allocation};
use crate::plan::{ExecError, PrepareError, RowMemory, Rows, StepOutput};

/// Rows of a step, or of the largest step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    /// Rows of the step.
    pub(crate) n_tokens: usize,
    /// Rows whose outputs are wanted.
    pub(crate) n_outputs: usize,
    /// Workers that compute the step.
    pub(crate) n_workers: usize,
}

/// Rows of a region in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowCount {
    /// This many per token or per output.
    Per(Rows, usize),
    /// One per worker of the step.
    PerWorker,
}

impl RowCount {
    pub(crate) fn in_step(self, extents: Extents) -> usize {
        match self {
            Self::Per(Rows::Tokens, times) => extents.n_tokens * times,
            Self::Per(Rows::Outputs, times) => extents.n_outputs * times,
            Self::PerWorker => extents.n_workers,
        }
    }
}

/// A matrix `[rows, stride]` in the arena.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region<T> {
    pub(super) offset: usize,
    pub(super) rows: RowCount,
    stride: usize,
    _values: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Region<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "region at byte {}, {:?} x {}", self.offset, self.rows, self.stride)
    }
}

impl<T: Pod> Region<T> {
    /// Its rows in a step.
    pub(crate) fn rows(self) -> RowCount {
        self.rows
    }

    /// Values from one row to the next.
    pub(crate) fn stride(self) -> usize {
        self.stride
    }

    /// Its bytes in the largest step.
    pub(super) fn bytes(self, limits: Extents) -> Range<usize> {
        self.offset..self.offset + self.len(limits) * size_of::<T>()
    }

    /// Number of values in a step.
    pub(super) fn len(self, extents: Extents) -> usize {
        self.rows.in_step(extents) * self.stride
    }
}

/// Places regions one after the other, for steps within `limits`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArenaLayout {
    limits: Extents,
    end: usize,
}

impl ArenaLayout {
    /// An empty layout that begins `start` bytes into the arena.
    pub(crate) fn new(limits: Extents, start: usize) -> Self {
        Self { limits, end: start }
    }

    /// Places a region after the others.
    ///
    /// # Errors
    /// If its size overflows.
    pub(crate) fn region<T: Pod>(
        &mut self,
        rows: RowCount,
        stride: usize,
    ) -> Result<Region<T>, PrepareError> {
        let offset = self.end;
        let n_rows = rows.in_step(self.limits);
        let end = n_rows.checked_mul(stride).and_then(|len| len.checked_mul(size_of::<T>()));
        let end = end.and_then(|n_bytes| n_bytes.checked_add(offset)?.checked_next_multiple_of(ALIGN));
        self.end =
            end.ok_or(PrepareError::OutOfMemory { what: "an activation", needed_bytes: usize::MAX })?;
        Ok(Region { offset, rows, stride, _values: PhantomData })
    }

    /// An empty layout for the same steps that begins at `start`.
    pub(crate) fn at(&self, start: usize) -> Self {
        Self { end: start, ..*self }
    }

    /// Bytes from the start of the arena to the end of the last region.
    pub(crate) fn end(&self) -> usize {
        self.end
    }
}

/// The logits of a step. Once they have left the arena, their owner has the only pointer to them.
#[derive(Debug)]
struct Logits(Allocation);

impl Logits {
    fn zeroed(n_bytes: usize) -> Result<Box<Self>, PrepareError> {
        Ok(Box::new(Self(Allocation::zeroed(n_bytes, "the logits")?)))
    }

    fn start_and_len(&self) -> (*mut f32, usize) {
        let len = self.0.n_bytes() / size_of::<f32>();
        (self.0.values(0, len), len)
    }
}

impl RowMemory for Logits {
    fn values(&self) -> &[f32] {
        let (start, len) = self.start_and_len();
        // SAFETY: the values are inside the allocation and initialised; an arena that still has them does not give them
        // out.
        unsafe { std::slice::from_raw_parts(start.cast_const(), len) }
    }

    fn values_mut(&mut self) -> &mut [f32] {
        let (start, len) = self.start_and_len();
        // SAFETY: as above, and `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

/// The memory behind the regions of a layout.
#[derive(Debug)]
pub(crate) struct Arena {
    memory: Allocation,
    /// `None` after they were handed over without a replacement.
    logits: Option<Box<Logits>>,
    /// Replaces the logits the first time they are handed over.
    spare: Option<Box<Logits>>,
    /// Regions below this offset lie in the logits.
    logits_bytes: usize,
    limits: Extents,
}

impl Arena {
    /// Memory for regions that end at `n_bytes`, of which the first `logits_bytes` hold the logits, in steps within
    /// `limits`.
    ///
    /// # Errors
    /// If the system refuses the memory.
    pub(crate) fn new(limits: Extents, logits_bytes: usize, n_bytes: usize) -> Result<Self, PrepareError> {
        Ok(Self {
            memory: Allocation::zeroed(n_bytes - logits_bytes, "activations")?,
            logits: Some(Logits::zeroed(logits_bytes)?),
            spare: Some(Logits::zeroed(logits_bytes)?),
            logits_bytes,
            limits,
        })
    }

    /// Bytes of such an arena, logits that were handed over included.
    pub(crate) fn needed_bytes(logits_bytes: usize, n_bytes: usize) -> usize {
        let logits = Allocation::needed_bytes(logits_bytes).saturating_mul(2);
        Allocation::needed_bytes(n_bytes - logits_bytes).saturating_add(logits)
    }

    /// Size in bytes, logits that were handed over included.
    pub(crate) fn n_bytes(&self) -> usize {
        self.memory.n_bytes() + 2 * Allocation::needed_bytes(self.logits_bytes)
    }

    /// The largest steps.
    pub(crate) fn limits(&self) -> Extents {
        self.limits
    }

    /// Provides memory for the logits of the next step, if they were handed over.
    ///
    /// # Errors
    /// If the system refuses the memory.
    pub(crate) fn prepare_logits(&mut self) -> Result<(), ExecError> {
        if self.logits.is_none() {
            let needed_bytes = self.logits_bytes;
            let refused = |_| ExecError::OutOfMemory { needed_bytes };
            self.logits = Some(Logits::zeroed(needed_bytes).map_err(refused)?);
        }
        Ok(())
    }

    /// Moves the logits to `output`, and takes back the memory that `output` had.
    pub(crate) fn hand_over_logits(&mut self, output: &mut StepOutput) {
        let returned: Option<Box<Logits>> = output.take_memory();
        let fitting = returned.filter(|logits| self.logits_bytes <= logits.0.n_bytes());
        let returned = fitting.or_else(|| self.spare.take());
        if let Some(logits) = std::mem::replace(&mut self.logits, returned) {
            output.hand_over(logits);
        }
    }

    /// A pointer to a region.
    pub(super) fn start_of<T: Pod>(&self, region: Region<T>) -> *mut T {
        let len = region.len(self.limits);
        match region.offset.checked_sub(self.logits_bytes) {
            Some(offset) => self.memory.values(offset, len),
            None => self.logits.as_ref().expect("the logits were handed over").0.values(region.offset, len),
        }
    }

    /// The values of a region in a step.
    pub(crate) fn region_mut<T: Pod>(&mut self, region: Region<T>, extents: Extents) -> &mut [T] {
        let len = region.len(extents);
        assert!(len <= region.len(self.limits), "the step is larger than the arena's limits");
        let start = self.start_of(region);
        // SAFETY: the values are inside the allocation and initialised, and `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}
