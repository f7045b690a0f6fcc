//! The bytes of a file, mapped into memory or owned.
#![allow(unsafe_code, reason = "mapping a file is unsafe by nature; it happens only here")]

use std::borrow::Cow;
use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::LoadError;

/// The bytes of a file.
#[derive(Debug)]
pub(crate) enum FileBytes {
    /// Read by the system when touched.
    Mapped(Mmap),
    /// In memory, or part of the program.
    Loaded(Cow<'static, [u8]>),
}

impl FileBytes {
    /// Maps a file.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let io_error = |source| LoadError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io_error)?;
        let metadata = file.metadata().map_err(io_error)?;
        if metadata.is_dir() {
            return Err(io_error(std::io::ErrorKind::IsADirectory.into()));
        }
        if metadata.len() == 0 {
            return Ok(Self::Loaded(Cow::default()));
        }
        // SAFETY: the mapping is private to this process and read only. Should another process shrink the file
        // meanwhile, the system ends this one with a signal; every reader of mapped model files accepts that.
        let map = unsafe { Mmap::map(&file) };
        Ok(Self::Mapped(map.map_err(io_error)?))
    }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Loaded(bytes.into())
    }
}

impl From<Cow<'static, [u8]>> for FileBytes {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        Self::Loaded(bytes)
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Loaded(bytes) => bytes,
        }
    }
}
