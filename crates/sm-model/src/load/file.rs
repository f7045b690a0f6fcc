//! The bytes of a file, mapped into memory or owned.
//!
//! Mapping opens files of any size instantly and lets the system drop pages under memory pressure. For a single sequential
//! read it is slower: each page costs a fault and stays resident. [`FileBytes::read`] therefore copies cache-sized pieces
//! with `pread`, and [`FileBytes::release`] drops mapped pages.
#![allow(unsafe_code, reason = "mapping a file is inherently unsafe; it happens only here")]

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::LoadError;

/// The bytes of a file.
#[derive(Debug)]
pub(crate) enum FileBytes {
    /// Mapped: pages are read when touched.
    Mapped {
        /// The mapping of the whole file.
        map: Mmap,
        /// The open file, for reads that bypass the mapping.
        file: File,
    },
    /// In memory, or built into the program.
    Loaded(Cow<'static, [u8]>),
}

impl FileBytes {
    /// Maps a file.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let io_error = |source| LoadError::Io { path: path.to_owned(), source };
        check_kind(path)?;
        let file = File::open(path).map_err(io_error)?;
        let metadata = file.metadata().map_err(io_error)?;
        if metadata.len() == 0 {
            return Ok(Self::Loaded(Cow::default()));
        }
        // SAFETY: the mapping is read-only, and we never write to the file. If another process modifies it, bytes change
        // under us; if it truncates the file, touching a lost page kills this process with SIGBUS. Mapping model files
        // accepts both.
        let map = unsafe { Mmap::map(&file) };
        Ok(Self::Mapped { map: map.map_err(io_error)?, file })
    }

    /// The file's metadata (size, times); `None` for bytes not in a file.
    ///
    /// # Errors
    /// If the system call fails.
    pub(crate) fn metadata(&self) -> std::io::Result<Option<Metadata>> {
        match self {
            Self::Mapped { file, .. } => file.metadata().map(Some),
            Self::Loaded(_) => Ok(None),
        }
    }

    /// A range of the bytes, copied to `buffer` if they are in a file: for cache-sized parts, copying is faster than page
    /// faults, and nothing stays resident.
    ///
    /// # Errors
    /// If the file cannot be read.
    ///
    /// # Panics
    /// If the range is out of bounds.
    pub(crate) fn read<'a>(
        &'a self,
        bytes: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> std::io::Result<&'a [u8]> {
        let mapped = &self[bytes.clone()];
        #[cfg(unix)]
        if let Self::Mapped { file, .. } = self {
            if buffer.len() < mapped.len() {
                buffer.resize(mapped.len(), 0);
            }
            let read = &mut buffer[..mapped.len()];
            std::os::unix::fs::FileExt::read_exact_at(file, read, bytes.start as u64)?;
            return Ok(read);
        }
        let _ = buffer;
        Ok(mapped)
    }

    /// Drops a range of a mapped file from memory. It is read again if touched.
    pub(crate) fn release(&self, bytes: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped { map, .. } = self {
            let dont_need = UncheckedAdvice::DontNeed;
            // SAFETY: the mapping is never written, so a page that is read again has the file's contents, as on first
            // touch.
            let advised = unsafe { map.unchecked_advise_range(dont_need, bytes.start, bytes.len()) };
            // Advisory: on failure, the pages stay until the system needs the memory.
            drop(advised);
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }
}

/// Checks that a path leads to a file, before it is opened: opening a pipe waits for somebody to write to it.
///
/// # Errors
/// If it is a directory, a pipe or a device, or does not exist.
pub(crate) fn check_kind(path: &Path) -> Result<(), LoadError> {
    let io_error = |source| LoadError::Io { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    if metadata.is_dir() {
        return Err(io_error(std::io::ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        let reason = "it is a pipe or a device; models are mapped, so save it to a file first";
        return Err(LoadError::NotAModel { path: path.to_owned(), reason });
    }
    Ok(())
}

/// A file that is mapped into memory, read-only.
///
/// If another process truncates the file while it is mapped, touching the lost part kills this process (SIGBUS).
#[derive(Debug)]
pub struct MappedFile(FileBytes);

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        FileBytes::open(path).map(Self)
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
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
            Self::Mapped { map, .. } => map,
            Self::Loaded(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident bytes of a mapped file, according to Linux.
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

    #[test]
    fn reading_parts_leaves_nothing_resident() {
        let path = std::env::temp_dir().join(format!("sm-model-read-bytes-{}", std::process::id()));
        let expected: Vec<u8> = (0..1_u32 << 20).map(|i| (i * 11 + (i >> 8)) as u8).collect();
        std::fs::write(&path, &expected).unwrap();
        let (mapped, loaded) = (FileBytes::open(&path).unwrap(), FileBytes::from(expected.clone()));
        let mut buffer = Vec::new();
        for part in [7..300_000, 5..5, 1 << 19..1 << 20, 0..1] {
            assert_eq!(mapped.read(part.clone(), &mut buffer).unwrap(), &expected[part.clone()]);
            assert_eq!(loaded.read(part.clone(), &mut buffer).unwrap(), &expected[part]);
        }
        #[cfg(target_os = "linux")]
        assert_eq!(resident_bytes(&path), 0);
        // A file truncated in the meantime is an error, not a signal.
        File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        #[cfg(unix)]
        mapped.read(900..1100, &mut buffer).unwrap_err();
        std::fs::remove_file(&path).unwrap();
    }
}
