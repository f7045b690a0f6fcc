//! The disk tier of the KV cache: stores evicted pages in a file and reads them back where that beats recomputing them.
//!
//! ```text
//! cache ──evicts──► write buffer ──► thread ──► file          the engine copies the page out and goes on
//! cache ◄─installs─ read buffer ◄── thread ◄── file          a waiting request is held back meanwhile
//! ```
//!
//! A page is content-addressed: its key hashes all tokens up to its end, under a fingerprint of weights, program, kernels
//! and storage type. It is written on eviction or at engine shutdown, and read before a request that can use it is
//! admitted. Models with recurrent states have a second file of state snapshots, each identified by the page it follows.
//! Pages are only read up to the last one with a stored snapshot, because no sequence could continue from later ones.
//!
//! The files are a cache: records that are missing, torn, damaged or from another model cost recomputation, never
//! correctness. The engine's thread never waits for the disk while requests run.

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

/// Location and size of the disk tier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvDiskConfig {
    /// The directory of the files, created if necessary. Used by one engine at a time. It holds the pages of one model;
    /// another model overwrites them.
    pub dir: PathBuf,
    /// Maximum size of the files in bytes. For models with recurrent states, split evenly between pages and states.
    pub max_bytes: u64,
}

impl KvDiskConfig {
    /// Uses at most `max_bytes` in `dir`.
    pub fn new(dir: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self { dir: dir.into(), max_bytes }
    }
}

/// Disk tier statistics. All zero without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvDiskStats {
    /// Pages in the file.
    pub stored_pages: usize,
    /// Capacity of the file in pages.
    pub max_pages: usize,
    /// Recurrent states in the state file.
    pub stored_states: usize,
    /// Capacity of the state file.
    pub max_states: usize,
    /// Pages queued for writing.
    pub spilled_pages: u64,
    /// Recurrent states queued for writing.
    pub spilled_states: u64,
    /// Pages read back into memory.
    pub restored_pages: u64,
    /// Recurrent states read back into memory.
    pub restored_states: u64,
    /// Evicted pages and states that were not stored because the disk was too slow or the write failed.
    pub dropped_pages: u64,
    /// Pages and states found torn or damaged, on opening a file or on reading.
    pub damaged_pages: u64,
    /// Stored pages not read because recomputing them was faster.
    pub skipped_pages: u64,
}
