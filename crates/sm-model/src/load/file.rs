//! The bytes of a model's file, read where they are wanted, or owned.
//!
//! Files are not mapped. A mapped file that another process cuts ends this one by a signal, and one that is written to changes
//! under a slice that Rust takes for constant; a read at a position (`pread`) only fails, or gives other bytes. It is not
//! slower either: weights are read once, from start to end, and a page fault costs more than copying a page.
//!
//! What is read many times in small pieces, such as a matrix that is stored the other way round, is held in memory until it is
//! released.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::LoadError;

/// The bytes of a file.
#[derive(Debug)]
pub(crate) enum FileBytes {
    /// In a file.
    Stored(StoredFile),
    /// In memory, or built into the program.
    Loaded(Cow<'static, [u8]>),
}

/// What is kept in memory, by the start and the end of its range.
type HeldRanges = HashMap<(usize, usize), Arc<[u8]>>;

/// An open file.
#[derive(Debug)]
pub(crate) struct StoredFile {
    file: File,
    path: PathBuf,
    /// When it was opened.
    n_bytes: usize,
    modified: Option<SystemTime>,
    held: Mutex<HeldRanges>,
}

/// Bytes that stay in memory.
#[derive(Clone, Debug)]
pub(crate) enum Held<'a> {
    Borrowed(&'a [u8]),
    Shared(Arc<[u8]>),
}

impl Deref for Held<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl FileBytes {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let io_error = |source| LoadError::Io { path: path.to_owned(), source };
        check_kind(path)?;
        let file = File::open(path).map_err(io_error)?;
        let metadata = file.metadata().map_err(io_error)?;
        let too_large = |_| io_error(io::ErrorKind::FileTooLarge.into());
        Ok(Self::Stored(StoredFile {
            n_bytes: usize::try_from(metadata.len()).map_err(too_large)?,
            modified: metadata.modified().ok(),
            file,
            path: path.to_owned(),
            held: Mutex::default(),
        }))
    }

    /// Number of bytes; of a file, when it was opened.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Stored(file) => file.n_bytes,
            Self::Loaded(bytes) => bytes.len(),
        }
    }

    /// The file's metadata (size, times); `None` for bytes not in a file.
    ///
    /// # Errors
    /// If the system call fails.
    pub(crate) fn metadata(&self) -> io::Result<Option<Metadata>> {
        match self {
            Self::Stored(file) => file.file.metadata().map(Some),
            Self::Loaded(_) => Ok(None),
        }
    }

    /// Checks that a file has not been written to since it was opened.
    ///
    /// # Errors
    /// [`LoadError::Changed`]
    pub(crate) fn check_unchanged(&self) -> Result<(), LoadError> {
        let Self::Stored(file) = self else { return Ok(()) };
        let now = file.file.metadata().map_err(|source| file.error(source))?;
        if now.len() == file.n_bytes as u64 && now.modified().ok() == file.modified {
            return Ok(());
        }
        Err(LoadError::Changed { path: file.path.clone() })
    }

    /// A range of the bytes, copied to `buffer` if they are in a file.
    ///
    /// # Errors
    /// If the file cannot be read, or was cut.
    ///
    /// # Panics
    /// If the range is out of bounds.
    pub(crate) fn read<'a>(
        &'a self,
        bytes: Range<usize>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], LoadError> {
        match self {
            Self::Stored(file) => {
                let n_bytes = bytes.len();
                if buffer.len() < n_bytes {
                    buffer.resize(n_bytes, 0);
                }
                file.read(bytes, &mut buffer[..n_bytes])?;
                Ok(&buffer[..n_bytes])
            }
            Self::Loaded(loaded) => Ok(&loaded[bytes]),
        }
    }

    /// A range of the bytes.
    ///
    /// # Errors
    /// As [`FileBytes::read`].
    ///
    /// # Panics
    /// If the range is out of bounds.
    pub(crate) fn bytes(&self, bytes: Range<usize>) -> Result<Cow<'_, [u8]>, LoadError> {
        match self {
            Self::Stored(file) => {
                let mut read = vec![0; bytes.len()];
                file.read(bytes, &mut read)?;
                Ok(read.into())
            }
            Self::Loaded(loaded) => Ok(loaded[bytes].into()),
        }
    }

    /// A range of the bytes, which stays in memory until it is released.
    ///
    /// # Errors
    /// As [`FileBytes::read`].
    ///
    /// # Panics
    /// If the range is out of bounds.
    pub(crate) fn hold(&self, bytes: Range<usize>) -> Result<Held<'_>, LoadError> {
        match self {
            Self::Stored(file) => file.hold(bytes).map(Held::Shared),
            Self::Loaded(loaded) => Ok(Held::Borrowed(&loaded[bytes])),
        }
    }

    /// Drops a range that is held. It is read again if it is wanted again.
    pub(crate) fn release(&self, bytes: Range<usize>) {
        if let Self::Stored(file) = self {
            file.held().remove(&(bytes.start, bytes.end));
        }
    }
}

impl StoredFile {
    fn error(&self, source: io::Error) -> LoadError {
        LoadError::Io { path: self.path.clone(), source }
    }

    fn read(&self, bytes: Range<usize>, buffer: &mut [u8]) -> Result<(), LoadError> {
        assert!(bytes.end <= self.n_bytes, "bytes {bytes:?} of {}", self.n_bytes);
        read_exact_at(&self.file, buffer, bytes.start as u64).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => LoadError::Changed { path: self.path.clone() },
            _ => self.error(error),
        })
    }

    fn hold(&self, bytes: Range<usize>) -> Result<Arc<[u8]>, LoadError> {
        let mut held = self.held();
        let key = (bytes.start, bytes.end);
        if let Some(known) = held.get(&key) {
            return Ok(Arc::clone(known));
        }
        let mut read = vec![0; bytes.len()];
        self.read(bytes, &mut read)?;
        let read = Arc::from(read);
        held.insert(key, Arc::clone(&read));
        Ok(read)
    }

    fn held(&self) -> MutexGuard<'_, HeldRanges> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n_bytes) => {
                buffer = &mut buffer[n_bytes..];
                offset += n_bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Checks that a path leads to a file, before it is opened: opening a pipe waits for somebody to write to it.
///
/// # Errors
/// If it is a directory, a pipe or a device, or does not exist.
pub(crate) fn check_kind(path: &Path) -> Result<(), LoadError> {
    let io_error = |source| LoadError::Io { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(io_error)?;
    if metadata.is_dir() {
        return Err(io_error(io::ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        let reason = "it is a pipe or a device; models are read at any place, so save it to a file first";
        return Err(LoadError::NotAModel { path: path.to_owned(), reason });
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_held_and_released_and_a_file_that_changes_is_an_error_that_names_it() {
        let path = std::env::temp_dir().join(format!("sm-model-file-bytes-{}", std::process::id()));
        let expected: Vec<u8> = (0..1_u32 << 20).map(|i| (i * 11 + (i >> 8)) as u8).collect();
        std::fs::write(&path, &expected).unwrap();
        let (stored, loaded) = (FileBytes::open(&path).unwrap(), FileBytes::from(expected.clone()));
        let mut buffer = Vec::new();
        for part in [7..300_000, 5..5, 1 << 19..1 << 20, 0..1] {
            for bytes in [&stored, &loaded] {
                assert_eq!(bytes.read(part.clone(), &mut buffer).unwrap(), &expected[part.clone()]);
                assert_eq!(*bytes.bytes(part.clone()).unwrap(), expected[part.clone()]);
                assert_eq!(*bytes.hold(part.clone()).unwrap(), expected[part.clone()]);
            }
        }
        stored.check_unchanged().unwrap();
        stored.release(0..1);
        File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        let named = |error: LoadError| {
            assert!(error.to_string().contains("sm-model-file-bytes"), "{error}");
            matches!(error, LoadError::Changed { .. })
        };
        assert!(named(stored.read(900..1100, &mut buffer).unwrap_err()));
        assert!(named(stored.bytes(900..1100).unwrap_err()));
        assert!(named(stored.check_unchanged().unwrap_err()));
        assert_eq!(*stored.hold(7..300_000).unwrap(), expected[7..300_000], "it is in memory");
        stored.release(7..300_000);
        assert!(named(stored.hold(7..300_000).unwrap_err()));
        std::fs::remove_file(&path).unwrap();
    }
}
