//! The stored records of one kind, as the engine's thread sees them, and the memory of those that are on their way.

use super::file::Contents;
use super::record::RecordName;
use super::slots::Slots;

/// Bytes of records that wait to be written. What a step of a long prompt evicts at once should fit.
const WRITE_BYTES: usize = 64 << 20;
/// Bytes of records that are read at a time.
const READ_BYTES: usize = 32 << 20;

/// The records of one kind.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) slots: Slots,
    /// `[record_bytes]` each. A job has a buffer, so the buffers bound the jobs.
    pub(super) write_buffers: Vec<Vec<u8>>,
    pub(super) read_buffers: Vec<Vec<u8>>,
    last_number: u64,
}

impl Shelf {
    /// The shelf of a file with room for `n_slots` records that was opened with these contents.
    pub(super) fn new(n_slots: u32, contents: &Contents, record_bytes: usize) -> Self {
        let buffers = |n_bytes: usize| {
            let n_buffers = (n_bytes / record_bytes.max(1)).clamp(2, 1024);
            // Each on its own: memory that is never written takes no room.
            (0..n_buffers).map(|_| vec![0; record_bytes]).collect::<Vec<_>>()
        };
        Self {
            slots: Slots::new(n_slots, &contents.stored),
            write_buffers: buffers(WRITE_BYTES),
            read_buffers: buffers(READ_BYTES),
            last_number: contents.last_number,
        }
    }

    /// Jobs that can be under way at a time.
    pub(super) fn max_jobs(&self) -> usize {
        self.write_buffers.len() + self.read_buffers.len()
    }

    /// A slot for a record that is not stored, and the number of the write.
    pub(super) fn take(&mut self, name: RecordName) -> (u32, u64) {
        self.last_number += 1;
        (self.slots.take(name.key), self.last_number)
    }
}
