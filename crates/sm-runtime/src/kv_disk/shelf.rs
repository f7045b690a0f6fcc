//! The engine thread's view of the stored records of one kind, and their I/O buffers.

use super::file::Contents;
use super::record::RecordName;
use super::slots::Slots;

/// Size of the write buffers. Should hold what one step of a long prompt evicts.
const WRITE_BYTES: usize = 64 << 20;
/// Size of the read buffers.
const READ_BYTES: usize = 32 << 20;

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
    pub(super) fn new(n_slots: u32, contents: &Contents, record_bytes: usize) -> Self {
        let buffers = |n_bytes: usize| {
            let n_buffers = (n_bytes / record_bytes.max(1)).clamp(2, 1024);
            // Allocate separately, so that unused buffers never become resident.
            (0..n_buffers).map(|_| vec![0; record_bytes]).collect::<Vec<_>>()
        };
        Self {
            slots: Slots::new(n_slots, &contents.stored),
            write_buffers: buffers(WRITE_BYTES),
            read_buffers: buffers(READ_BYTES),
            last_number: contents.last_number,
        }
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
