//! Zeroed memory from the system, aligned to cache lines.
//!
//! Anonymous private mappings: pages are provided, and zeroed, when they are first touched, so a KV pool takes memory
//! as it fills; and pages can be returned ([`Allocation::release`]). An allocator that zeroes memory with an alignment
//! writes all of it, which made the whole pool resident from the start.
#![allow(unsafe_code, reason = "several threads get slices of one allocation")]

use std::ops::Range;

use bytemuck::Pod;
use memmap2::{MmapMut, MmapRaw};

use crate::plan::PrepareError;

/// Alignment of allocations and of the regions in them: a cache line, and the widest vector.
pub(crate) const ALIGN: usize = 64;

/// Alignment of what is returned to the system: a multiple of the page size of every system.
const RELEASE_ALIGN: usize = 64 << 10;

/// Zeroed memory, provided by the system when it is first touched.
#[derive(Debug)]
pub(crate) struct Allocation {
    /// Raw: a mapping that is a slice would make a reference to all of it whenever it is asked for anything, even its length,
    /// beside those of other threads to its parts.
    memory: MmapRaw,
}

impl Allocation {
    /// At least `n_bytes` zeros; `what` names them in errors.
    ///
    /// # Errors
    /// If the system refuses the memory.
    pub(crate) fn zeroed(n_bytes: usize, what: &'static str) -> Result<Self, PrepareError> {
        let refused = || PrepareError::OutOfMemory { what, needed_bytes: n_bytes };
        let memory = MmapMut::map_anon(Self::needed_bytes(n_bytes)).map_err(|_| refused())?;
        Ok(Self { memory: memory.into() })
    }

    /// Bytes that an allocation for `n_bytes` takes.
    pub(crate) fn needed_bytes(n_bytes: usize) -> usize {
        n_bytes.max(ALIGN)
    }

    /// Size in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        self.memory.len()
    }

    /// A pointer to `len` values, `offset` bytes from the start.
    ///
    /// # Panics
    /// If they are not inside the allocation, or not aligned.
    pub(crate) fn values<T: Pod>(&self, offset: usize, len: usize) -> *mut T {
        let end = size_of::<T>().checked_mul(len).and_then(|n_bytes| n_bytes.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.n_bytes()), "{len} values at byte {offset} are outside");
        assert!(offset.is_multiple_of(align_of::<T>()), "byte {offset} is not aligned");
        // SAFETY: the offset is inside the allocation.
        unsafe { self.memory.as_mut_ptr().add(offset) }.cast()
    }

    /// Returns the system's pages that lie whole within `bytes`; they read as zeros afterwards. Does nothing where the
    /// system does not support it.
    ///
    /// # Panics
    /// If `bytes` is not inside the allocation.
    pub(crate) fn release(&mut self, bytes: Range<usize>) {
        assert!(bytes.end <= self.n_bytes(), "bytes {bytes:?} of {}", self.n_bytes());
        let start = bytes.start.next_multiple_of(RELEASE_ALIGN);
        let end = bytes.end - bytes.end % RELEASE_ALIGN;
        #[cfg(target_os = "linux")]
        if start < end {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the memory is private and anonymous, so it reads as zeros afterwards, and `&mut self` is the only
            // access.
            let released = unsafe { self.memory.unchecked_advise_range(advice, start, end - start) };
            // A failure only means that the memory stays with the process.
            drop(released);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, end);
    }
}
