//! One aligned allocation that holds every activation, and the typed regions in it.
#![allow(unsafe_code, reason = "regions of one allocation become typed slices")]

mod access;
mod parts;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;

pub(crate) use access::{Access, Footprint, KvUse, Memory, Shares};
pub(crate) use parts::Size;

use crate::cpu::allocation::{ALIGN, Allocation};
use crate::plan::{ExecError, PrepareError, RowMemory, Rows, StepOutput};

/// How many rows a step has, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    /// Rows of the step.
    pub(crate) n_tokens: usize,
    /// Rows whose logits are wanted.
    pub(crate) n_outputs: usize,
}

/// How many rows a region has in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowCount {
    /// This many for each token or output.
    Per(Rows, usize),
    /// Always this many.
    Fixed(usize),
}

impl RowCount {
    pub(crate) fn in_step(self, extents: Extents) -> usize {
        match self {
            Self::Per(Rows::Tokens, times) => extents.n_tokens * times,
            Self::Per(Rows::Outputs, times) => extents.n_outputs * times,
            Self::Fixed(n_rows) => n_rows,
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
    /// How many rows it has in a step.
    pub(crate) fn rows(self) -> RowCount {
        self.rows
    }

    /// Values from one row to the next.
    pub(crate) fn stride(self) -> usize {
        self.stride
    }

    /// The bytes that the region has in the largest step.
    pub(super) fn bytes(self, limits: Extents) -> Range<usize> {
        self.offset..self.offset + self.len(limits) * size_of::<T>()
    }

    /// Number of values in a step.
    pub(super) fn len(self, extents: Extents) -> usize {
        self.rows.in_step(extents) * self.stride
    }
}

/// Places regions one after the other, for steps up to `limits`.
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

    /// A region behind the others.
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

    /// A layout for the same steps that begins elsewhere.
    pub(crate) fn at(&self, start: usize) -> Self {
        Self { end: start, ..*self }
    }

    /// Bytes from the start of the arena to the end of the last region.
    pub(crate) fn end(&self) -> usize {
        self.end
    }
}

/// Logits that a step has written. Outside an arena nobody but its owner has pointers to them.
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
        // SAFETY: the values are inside the allocation and initialised; an arena that still has them keeps them private.
        unsafe { std::slice::from_raw_parts(start.cast_const(), len) }
    }

    fn values_mut(&mut self) -> &mut [f32] {
        let (start, len) = self.start_and_len();
        // SAFETY: as above, and `&mut self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

/// The memory behind the regions of a layout.
///
/// ```text
/// offset 0            logits_bytes                         end of the layout
///        | the logits | everything else                    |
/// ```
///
/// The logits are an allocation of their own, because they leave with the step's output and other memory takes their
/// place.
#[derive(Debug)]
pub(crate) struct Arena {
    memory: Allocation,
    /// `None` after they were handed over.
    logits: Option<Box<Logits>>,
    /// What takes their place the first time.
    spare: Option<Box<Logits>>,
    logits_bytes: usize,
    limits: Extents,
}

impl Arena {
    /// Memory for regions that end at `n_bytes`, of which the first `logits_bytes` hold the logits, in steps up to
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

    /// Bytes of such an arena, with the logits that its caller has.
    pub(crate) fn needed_bytes(logits_bytes: usize, n_bytes: usize) -> usize {
        let logits = Allocation::needed_bytes(logits_bytes).saturating_mul(2);
        Allocation::needed_bytes(n_bytes - logits_bytes).saturating_add(logits)
    }

    /// Size in bytes, with the logits that its caller has.
    pub(crate) fn n_bytes(&self) -> usize {
        self.memory.n_bytes() + 2 * Allocation::needed_bytes(self.logits_bytes)
    }

    /// The largest steps.
    pub(crate) fn limits(&self) -> Extents {
        self.limits
    }

    /// Makes sure that a step can write logits.
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

    /// Hands the logits over, and takes the memory that `output` had.
    pub(crate) fn hand_over_logits(&mut self, output: &mut StepOutput) {
        let is_fit = |logits: &Box<Logits>| self.logits_bytes <= logits.0.n_bytes();
        let returned = output.take_memory().filter(is_fit).or_else(|| self.spare.take());
        if let Some(logits) = std::mem::replace(&mut self.logits, returned) {
            output.hand_over(logits);
        }
    }

    /// The place of a region.
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
        // SAFETY: the values are inside the allocation, initialised, and `&mut self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}
