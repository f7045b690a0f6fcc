//! The engine thread's view of the stored records of one kind, and their I/O buffers.

use bytemuck::allocation::try_zeroed_vec;
use sm_cache::ByteSize;

use super::file::Contents;
use super::record::RecordName;
use super::slots::Slots;
use crate::KvDiskError;

/// Size of the write buffers. Should hold what one step of a long prompt evicts.
const WRITE_BYTES: usize = 64 << 20;
/// Size of the read buffers.
const READ_BYTES: usize = 32 << 20;

/// Bounds of the number of buffers of each kind.
const MAX_BUFFERS: usize = 1024;
const FEW_BUFFERS: usize = 64;

/// The records of one kind.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) slots: Slots,
    /// `[record_bytes]` each. Every job owns a buffer, so the buffers bound the number of jobs.
    pub(super) write_buffers: Vec<Vec<u8>>,
    pub(super) read_buffers: Vec<Vec<u8>>,
    last_number: u64,
}

impl Shelf {
    /// The shelf of a file with `n_slots` slots and these initial contents.
    ///
    /// # Errors
    /// If the system refuses memory for the buffers.
    pub(super) fn new(n_slots: u32, contents: &Contents, record_bytes: usize) -> Result<Self, KvDiskError> {
        // The allocator gives small records from memory that it has to clear, so unused buffers are not free: no more than a
        // small file has room for.
        let most = (n_slots as usize).clamp(FEW_BUFFERS, MAX_BUFFERS);
        let buffers = |n_bytes: usize| {
            let n_buffers = (n_bytes / record_bytes.max(1)).clamp(2, most);
            // Allocate separately, so that unused buffers of large records never become resident.
            let all: Result<Vec<Vec<u8>>, ()> =
                (0..n_buffers).map(|_| try_zeroed_vec(record_bytes)).collect();
            let needed = ByteSize(n_buffers as u64 * record_bytes as u64);
            all.map_err(|()| KvDiskError::OutOfMemory { needed })
        };
        Ok(Self {
            slots: Slots::new(n_slots, &contents.stored),
            write_buffers: buffers(WRITE_BYTES)?,
            read_buffers: buffers(READ_BYTES)?,
            last_number: contents.last_number,
        })
    }

    /// Maximum number of jobs in flight.
    pub(super) fn max_jobs(&self) -> usize {
        self.write_buffers.len() + self.read_buffers.len()
    }

    /// Assigns a slot and a write number to a new record.
    pub(super) fn take(&mut self, name: RecordName) -> (u32, u64) {
        self.last_number += 1;
        (self.slots.take(name.key), self.last_number)
    }
}
