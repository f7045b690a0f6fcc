//! Reads little-endian values from possibly truncated bytes.
//!
//! Every read names the item, so that errors report it with its offset and the missing bytes.

use std::ops::Range;

use super::file::FileBytes;
use crate::LoadError;

/// Bytes that are read from a file at a time: much more than most items, much less than most files.
const WINDOW_BYTES: usize = 256 << 10;

/// A position in the bytes of a file.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    format: &'static str,
    bytes: Bytes<'a>,
    offset: usize,
}

/// Where the bytes are.
#[derive(Debug)]
enum Bytes<'a> {
    Memory(&'a [u8]),
    /// A file, and those of its bytes that were read last, from `start` on.
    File {
        file: &'a FileBytes,
        start: usize,
        window: Vec<u8>,
    },
}

impl Bytes<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File { file, .. } => file.len(),
        }
    }

    /// A range that lies within the bytes.
    fn get(&mut self, range: Range<usize>) -> Result<&[u8], LoadError> {
        match self {
            Self::Memory(bytes) => Ok(&bytes[range]),
            Self::File { file, start, window } => {
                if range.start < *start || *start + window.len() < range.end {
                    let end = range.end.max(range.start.saturating_add(WINDOW_BYTES)).min(file.len());
                    *window = file.bytes(range.start..end)?.into_owned();
                    *start = range.start;
                }
                Ok(&window[range.start - *start..range.end - *start])
            }
        }
    }
}

macro_rules! read_number {
    ($($name:ident),*) => {
        $(pub(crate) fn $name(&mut self, what: &str) -> Result<$name, LoadError> {
            self.array(what).map($name::from_le_bytes)
        })*
    };
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(format: &'static str, bytes: &'a [u8]) -> Self {
        Self { format, bytes: Bytes::Memory(bytes), offset: 0 }
    }

    /// A cursor at the start of a file, of which only what is asked for is read.
    pub(crate) fn in_file(format: &'static str, file: &'a FileBytes) -> Self {
        let bytes = match file {
            FileBytes::Loaded(bytes) => Bytes::Memory(bytes),
            FileBytes::Stored(_) => Bytes::File { file, start: 0, window: Vec::new() },
        };
        Self { format, bytes, offset: 0 }
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes left to read.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    read_number!(u32, i32, u64, i64);

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], LoadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64, what)?);
        Ok(array)
    }

    /// Passes over the next `len` bytes.
    pub(crate) fn skip(&mut self, len: u64, what: &str) -> Result<Range<usize>, LoadError> {
        let end = usize::try_from(len).ok().and_then(|len| self.offset.checked_add(len));
        let end = end.filter(|end| *end <= self.bytes.len()).ok_or_else(|| self.truncated(what, len))?;
        Ok(std::mem::replace(&mut self.offset, end)..end)
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: u64, what: &str) -> Result<&[u8], LoadError> {
        let range = self.skip(len, what)?;
        self.bytes.get(range)
    }

    /// Checks that `count` items of at least `item_bytes` each fit in the rest, so that allocating for them is safe.
    pub(crate) fn count(&self, count: u64, item_bytes: usize, what: &str) -> Result<usize, LoadError> {
        let needed = count.saturating_mul(item_bytes as u64);
        if self.remaining() as u64 >= needed { Ok(count as usize) } else { Err(self.truncated(what, needed)) }
    }

    /// The next `len` bytes, as UTF-8.
    pub(crate) fn text(&mut self, len: u64, what: &str) -> Result<&str, LoadError> {
        let format = self.format;
        let offset = self.offset;
        let bytes = self.bytes(len, what)?;
        std::str::from_utf8(bytes).map_err(|_| LoadError::NotUtf8 { format, what: what.into(), offset })
    }

    fn truncated(&self, what: &str, needed: u64) -> LoadError {
        LoadError::Truncated {
            format: self.format,
            what: what.into(),
            offset: self.offset,
            needed,
            available: self.remaining(),
        }
    }
}
