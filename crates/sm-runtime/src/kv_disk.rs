//! The disk tier of the KV cache: pages that memory has no room for are kept in a file, and read back where that is faster than
//! computing them.
//!
//! ```text
//! cache ──evicts──► write buffer ──► thread ──► file          the engine copies the page out and goes on
//! cache ◄─installs─ read buffer ◄── thread ◄── file          a waiting request is held back meanwhile
//! ```
//!
//! A page is identified by its content: by a hash of all tokens up to its end, under a fingerprint of weights, program, kernels and
//! storage type. It is written when the cache evicts it or when the engine ends, and read before a request that can use it
//! is admitted. Models with recurrent states have a second file with snapshots of states, identified by the page that they
//! follow; pages are only read up to one that has a stored snapshot, because no sequence could continue from the others.
//!
//! The files are a cache: what is missing, torn, damaged or of another model costs a computation and never changes a token.
//! The engine's thread never waits for the disk while requests run.

mod fetch;
mod file;
mod fingerprint;
mod read_time;
mod record;
mod shelf;
mod slots;
mod tier;
mod worker;

use std::path::PathBuf;

pub(crate) use fingerprint::{program_fingerprint, weights_fingerprint};
pub(crate) use tier::{DiskTier, TierParams};

/// Where evicted pages are stored, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvDiskConfig {
    /// The directory of the files, created if necessary. Only one engine at a time can use it. It holds the pages of one model:
    /// another model starts it afresh.
    pub dir: PathBuf,
    /// The most bytes that the files may have. For models with recurrent states, half of it is for pages and half for states.
    pub max_bytes: u64,
}

impl KvDiskConfig {
    /// Files of at most `max_bytes` in `dir`.
    pub fn new(dir: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self { dir: dir.into(), max_bytes }
    }
}

/// What the disk tier holds and has done. All zero without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvDiskStats {
    /// Pages in the file.
    pub stored_pages: usize,
    /// Pages that the file can hold.
    pub max_pages: usize,
    /// Recurrent states in their file.
    pub stored_states: usize,
    /// Recurrent states that their file can hold.
    pub max_states: usize,
    /// Pages handed over to be written.
    pub spilled_pages: u64,
    /// Recurrent states handed over to be written.
    pub spilled_states: u64,
    /// Pages read back into memory.
    pub restored_pages: u64,
    /// Recurrent states read back into memory.
    pub restored_states: u64,
    /// Evicted pages and states that were not stored, because the disk was too slow or refused them.
    pub dropped_pages: u64,
    /// Pages and states that were found torn or damaged, when a file was opened or when they were read.
    pub damaged_pages: u64,
    /// Pages in the file that were not read because computing them was faster.
    pub skipped_pages: u64,
}
