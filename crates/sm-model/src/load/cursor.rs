//! Reads little-endian values from possibly truncated bytes.
//!
//! Every read names the item, so that errors report it with its offset and the missing bytes.

use crate::LoadError;

/// A position in the bytes of a file.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    format: &'static str,
    bytes: &'a [u8],
    offset: usize,
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
        match self.bytes[self.offset..].first_chunk::<N>() {
            Some(chunk) => {
                self.offset += N;
                Ok(*chunk)
            }
            None => Err(self.truncated(what, N as u64)),
        }
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: u64, what: &str) -> Result<&'a [u8], LoadError> {
        let rest: &'a [u8] = &self.bytes[self.offset..];
        let taken = usize::try_from(len)
            .ok()
            .and_then(|len| rest.get(..len))
            .ok_or_else(|| self.truncated(what, len))?;
        self.offset += taken.len();
        Ok(taken)
    }

    /// Checks that `count` items of at least `item_bytes` each fit in the rest, so that allocating for them is safe.
    pub(crate) fn count(&self, count: u64, item_bytes: usize, what: &str) -> Result<usize, LoadError> {
        let needed = count.saturating_mul(item_bytes as u64);
        if self.remaining() as u64 >= needed { Ok(count as usize) } else { Err(self.truncated(what, needed)) }
    }

    /// The next `len` bytes, as UTF-8.
    pub(crate) fn text(&mut self, len: u64, what: &str) -> Result<&'a str, LoadError> {
        let offset = self.offset;
        let bytes = self.bytes(len, what)?;
        std::str::from_utf8(bytes).map_err(|_| LoadError::NotUtf8 {
            format: self.format,
            what: what.into(),
            offset,
        })
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
