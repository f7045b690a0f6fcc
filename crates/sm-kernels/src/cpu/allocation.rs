//! Zeroed memory from the system, aligned to cache lines.
#![allow(unsafe_code, reason = "several threads get slices of one allocation")]

use std::ops::Range;
use std::ptr::NonNull;

use bytemuck::Pod;
use memmap2::MmapMut;

use crate::plan::PrepareError;

/// Alignment of allocations and regions: a cache line, and the widest vector.
pub(crate) const ALIGN: usize = 64;

/// Of what is given back to the system: a multiple of every system's page.
const RELEASE_ALIGN: usize = 64 << 10;

/// Zeroed memory, aligned to cache lines; the system provides it when it is first touched.
#[derive(Debug)]
pub(crate) struct Allocation {
    memory: MmapMut,
    start: NonNull<u8>,
}

// SAFETY: the memory belongs to this value alone; whoever makes references out of it answers for them.
unsafe impl Send for Allocation {}
// SAFETY: as above.
unsafe impl Sync for Allocation {}

impl Allocation {
    /// At least `n_bytes` zeros, for `what`.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn zeroed(n_bytes: usize, what: &'static str) -> Result<Self, PrepareError> {
        let refused = || PrepareError::OutOfMemory { what, needed_bytes: n_bytes };
        let mut memory = MmapMut::map_anon(Self::needed_bytes(n_bytes)).map_err(|_| refused())?;
        let start = NonNull::new(memory.as_mut_ptr()).ok_or_else(refused)?;
        Ok(Self { memory, start })
    }

    /// What an allocation for `n_bytes` takes.
    pub(crate) fn needed_bytes(n_bytes: usize) -> usize {
        n_bytes.max(ALIGN)
    }

    /// Size in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        self.memory.len()
    }

    /// The place of `len` values, `offset` bytes from the start.
    ///
    /// # Panics
    /// If they are not inside or not aligned.
    pub(crate) fn values<T: Pod>(&self, offset: usize, len: usize) -> *mut T {
        let end = size_of::<T>().checked_mul(len).and_then(|n_bytes| n_bytes.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.n_bytes()), "{len} values at byte {offset} are outside");
        assert!(offset.is_multiple_of(align_of::<T>()), "byte {offset} is not aligned");
        // SAFETY: the offset is inside the allocation.
        unsafe { self.start.as_ptr().add(offset) }.cast()
    }

    /// Gives whole pages of the system inside `bytes` back: they are zeros when they are next touched. Others, and all where
    /// the system cannot do so, stay as they are.
    ///
    /// # Panics
    /// If `bytes` is outside.
    pub(crate) fn release(&mut self, bytes: Range<usize>) {
        assert!(bytes.end <= self.n_bytes(), "bytes {bytes:?} of {}", self.n_bytes());
        let start = bytes.start.next_multiple_of(RELEASE_ALIGN);
        let end = bytes.end - bytes.end % RELEASE_ALIGN;
        #[cfg(target_os = "linux")]
        if start < end {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the memory is private and anonymous, so it reads as zeros afterwards, and `&mut self` is the only way
            // to it.
            let released = unsafe { self.memory.unchecked_advise_range(advice, start, end - start) };
            // Memory that is not given back costs nothing but itself.
            drop(released);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (start, end);
    }
}
