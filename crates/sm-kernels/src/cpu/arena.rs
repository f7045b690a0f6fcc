//! One allocation for all activations, and the typed regions in it.
//!
//! ```text
//! arena   │ rope angles │ buffers of the plan, overlapping by lifetime │ workspace of one op at a time │
//! ```
//!
//! A region is a matrix at a fixed place, laid out for the largest step; a smaller step uses its first rows. Places are
//! decided once, when a plan is bound, so a step allocates nothing. `access.rs` says who may touch which region when.
#![allow(unsafe_code, reason = "regions of one allocation become typed slices")]

mod access;
mod parts;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;

pub(crate) use access::{Access, Footprint, KvUse, StepMemory, StepShares};
pub(crate) use parts::ProductSize;

use crate::cpu::allocation::{ALIGN, Allocation};
use crate::plan::{PrepareError, Rows};

/// Rows of a step, or of the largest step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    /// Rows of the step.
    pub(crate) n_tokens: usize,
    /// Rows whose outputs are wanted.
    pub(crate) n_outputs: usize,
}

/// Rows of a region in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowCount {
    /// This many per token or per output.
    Per(Rows, usize),
    /// The same in every step.
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

/// The allocation behind the regions of a layout.
#[derive(Debug)]
pub(crate) struct Arena {
    memory: Allocation,
    limits: Extents,
}

impl Arena {
    /// Memory for regions that end at `n_bytes`, in steps within `limits`.
    ///
    /// # Errors
    /// If the system refuses the memory.
    pub(crate) fn new(limits: Extents, n_bytes: usize) -> Result<Self, PrepareError> {
        Ok(Self { memory: Allocation::zeroed(n_bytes, "activations")?, limits })
    }

    /// Bytes of such an arena.
    pub(crate) fn needed_bytes(n_bytes: usize) -> usize {
        Allocation::needed_bytes(n_bytes)
    }

    /// Size in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        self.memory.n_bytes()
    }

    /// The largest steps.
    pub(crate) fn limits(&self) -> Extents {
        self.limits
    }

    /// A pointer to a region.
    pub(super) fn start_of<T: Pod>(&self, region: Region<T>) -> *mut T {
        self.memory.values(region.offset, region.len(self.limits))
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
