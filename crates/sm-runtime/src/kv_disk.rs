//! The disk tier of the KV cache: pages that memory has no room for, kept in a file and read back where that is cheaper than
//! computing them.
//!
//! A page is known by its content: by a hash of the tokens up to its end, under a fingerprint of weights, program, kernels and
//! storage. It is written when the cache evicts it, or when the engine ends, and read before a request starts that could use
//! it. The file is a cache and no more: what is missing, torn, damaged or of another model costs a computation and never
//! changes a token.

mod file;
mod fingerprint;
mod pace;
mod record;
mod slots;
mod tier;
mod worker;

use std::path::PathBuf;

pub(crate) use fingerprint::{program_fingerprint, weights_fingerprint};
pub(crate) use tier::{DiskTier, Setup};

/// Where evicted pages go, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KvDiskConfig {
    /// The directory of the file; made if it is not there. One engine at a time can use it. It keeps the pages of one model:
    /// another one begins it afresh.
    pub dir: PathBuf,
    /// Bytes that the file has at most.
    pub max_bytes: u64,
}

impl KvDiskConfig {
    /// A file of at most `max_bytes` in `dir`.
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
    /// Pages handed over to be written.
    pub spilled_pages: u64,
    /// Pages read back into memory.
    pub restored_pages: u64,
    /// Evicted pages that were not kept, because the disk was behind or refused them.
    pub dropped_pages: u64,
    /// Pages that were found torn or damaged, when the file was opened or when they were read.
    pub damaged_pages: u64,
    /// Pages that were in the file, and not read because computing them was cheaper.
    pub dearer_pages: u64,
}
