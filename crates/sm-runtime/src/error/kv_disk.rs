//! Errors of the KV cache's disk tier.

use std::path::{Path, PathBuf};

use sm_cache::ByteSize;

use super::ErrorKind;
use crate::files;

/// An error of the KV cache's disk tier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvDiskError {
    /// Another engine uses the directory.
    #[error("the KV directory {} is in use by another engine or process; give each its own", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The limit is too small for a single page.
    #[error("a file with one KV page or state needs {needed} but kv_disk_bytes allows {limit}; raise it")]
    TooSmall {
        /// Size of a file with one page.
        needed: ByteSize,
        /// The configured limit.
        limit: ByteSize,
    },
    /// The system refuses memory for what is on its way to and from the disk.
    #[error(
        "the KV disk tier needs {needed} for buffers, which the system refuses; close other programs or turn the tier off"
    )]
    OutOfMemory {
        /// How much the buffers need.
        needed: ByteSize,
    },
    /// The disk has no room for a file.
    #[error("cannot {action} {}: the disk is full; free some space, lower kv_disk_bytes or choose another directory", path.display())]
    Full {
        /// `open`, `write`, ….
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `open`, `read`, ….
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
}

impl KvDiskError {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } | Self::TooSmall { .. } => ErrorKind::InvalidRequest,
            Self::Io { .. } | Self::Full { .. } | Self::OutOfMemory { .. } => ErrorKind::Device,
        }
    }

    /// Creates a [`KvDiskError::Io`], or [`KvDiskError::Full`] if that is what it is; for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match files::is_full(&source) {
            true => Self::Full { action, path, source },
            false => Self::Io { action, path, source },
        }
    }
}
