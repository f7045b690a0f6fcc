//! The bytes of a file, mapped into memory or owned.
#![allow(unsafe_code, reason = "mapping a file is unsafe by nature; it happens only here")]

use std::borrow::Cow;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

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

    /// Lets go of the memory that holds some bytes of a mapped file; the system reads them again when they are touched.
    pub(crate) fn release(&self, bytes: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            let dont_need = UncheckedAdvice::DontNeed;
            // SAFETY: nobody writes to the mapping, so what comes back for a page is what the file holds, as when it
            // was touched first.
            let advised = unsafe { map.unchecked_advise_range(dont_need, bytes.start, bytes.len()) };
            // A system that refuses keeps the pages until it needs them.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = bytes;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a mapped file that are in memory, as Linux tells.
    #[cfg(target_os = "linux")]
    fn resident_bytes(path: &Path) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let resident = lines.skip(1).find_map(|line| line.strip_prefix("Rss:")).unwrap();
        resident.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    #[test]
    fn released_bytes_leave_memory_and_can_be_read_again() {
        let path = std::env::temp_dir().join(format!("sm-model-released-bytes-{}", std::process::id()));
        let expected: Vec<u8> = (0..1_u32 << 20).map(|i| (i * 7 + (i >> 8)) as u8).collect();
        std::fs::write(&path, &expected).unwrap();
        let bytes = FileBytes::open(&path).unwrap();
        assert_eq!(*bytes, expected[..]);
        bytes.release(100..bytes.len() - (300 << 10));
        #[cfg(target_os = "linux")]
        assert_eq!(resident_bytes(&path), 300 << 10);
        assert_eq!(*bytes, expected[..]);
        std::fs::remove_file(&path).unwrap();
        FileBytes::from(expected.clone()).release(0..expected.len());
    }
}
