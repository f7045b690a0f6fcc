//! Reads GGUF files, versions 2 and 3.
//!
//! ```text
//! "GGUF", u32 version, u64 n_tensors, u64 n_entries
//! per entry:    string key, u32 type, value
//! per tensor:   string name, u32 rank, u64 extents[rank] (fastest first), u32 type, u64 offset
//! padding to general.alignment, data
//! ```
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. Big-endian files and version 1 are rejected.

mod write;

pub use write::{GgufWriter, TensorSpec, WriteError};

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use super::TensorInfo;
use super::cursor::Cursor;
use super::file::FileBytes;
use super::stored::{FileTensors, StoredAs, UnreadTensor};
use crate::LoadError;
use crate::error::cut;
use crate::metadata::{Array, Metadata, Value};

const FORMAT: &str = "GGUF";
/// `GGML_MAX_DIMS`.
const MAX_RANK: u32 = 4;
const MAX_ARRAY_DEPTH: usize = 4;
const DEFAULT_ALIGNMENT: u32 = 32;
/// Minimum size of a metadata entry: key length and value type.
const MIN_ENTRY_BYTES: usize = 8 + 4;
/// Minimum size of a tensor description: name length, rank, type and offset.
const MIN_TENSOR_BYTES: usize = 8 + 4 + 4 + 8;

/// A GGUF file: metadata and tensors.
#[derive(Debug)]
pub struct Gguf {
    metadata: Metadata,
    tensors: FileTensors,
    bytes: FileBytes,
}

impl Gguf {
    /// Opens and checks a file.
    ///
    /// # Errors
    /// If it cannot be read, or is truncated or corrupt.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        FileBytes::open(path).and_then(Self::read).map_err(|error| error.in_file(path))
    }

    /// Checks the bytes of a file, owned or built into the program.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn parse(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, LoadError> {
        Self::read(bytes.into().into())
    }

    fn read(bytes: FileBytes) -> Result<Self, LoadError> {
        let mut cursor = Cursor::in_file(FORMAT, &bytes);
        let header = read_header(&mut cursor)?;
        let metadata = read_metadata(&mut cursor, header.n_entries)?;
        let tensors = read_tensors(&mut cursor, header.n_tensors, read_alignment(&metadata)?)?;
        Ok(Self { metadata, tensors, bytes })
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensors, in the order of the file, but for those whose data type is none of ours.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors.plain
    }

    /// Reads the bytes of a tensor of this file.
    ///
    /// # Errors
    /// If the file cannot be read, or was cut since it was opened.
    ///
    /// # Panics
    /// May panic if `tensor` belongs to another file.
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> Result<Cow<'_, [u8]>, LoadError> {
        self.bytes.bytes(tensor.bytes.clone())
    }

    /// The metadata, the tensors, and the bytes of the file.
    pub(crate) fn into_parts(self) -> (Metadata, FileTensors, FileBytes) {
        (self.metadata, self.tensors, self.bytes)
    }
}

struct Header {
    n_tensors: u64,
    n_entries: u64,
}

fn read_header(cursor: &mut Cursor<'_>) -> Result<Header, LoadError> {
    let magic: [u8; 4] = cursor.array("magic")?;
    if magic != *b"GGUF" {
        return Err(LoadError::Magic { format: FORMAT, found: magic.to_vec() });
    }
    let found = cursor.u32("version")?;
    if !(2..=3).contains(&found) {
        return Err(LoadError::Version { format: FORMAT, found, supported: "2 and 3, little-endian" });
    }
    let n_tensors = cursor.u64("number of tensors")?;
    let n_entries = cursor.u64("number of metadata entries")?;
    Ok(Header { n_tensors, n_entries })
}

fn read_string(cursor: &mut Cursor<'_>, what: &str) -> Result<String, LoadError> {
    let len = cursor.u64(what)?;
    cursor.text(len, what).map(str::to_owned)
}

fn read_metadata(cursor: &mut Cursor<'_>, n_entries: u64) -> Result<Metadata, LoadError> {
    let n_entries = cursor.count(n_entries, MIN_ENTRY_BYTES, "metadata")?;
    let mut metadata = Metadata::default();
    for _ in 0..n_entries {
        let key = read_string(cursor, "metadata key")?;
        let type_id = cursor.u32(&key)?;
        let value = read_value(cursor, type_id, &key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(LoadError::Duplicate { format: FORMAT, what: "metadata key", name: key });
        }
    }
    Ok(metadata)
}

fn unknown_type(key: &str, type_id: u32) -> LoadError {
    let what = format!("the value type of {:?}", cut(key));
    LoadError::OutOfRange { format: FORMAT, what, found: type_id.into(), expected: "0 to 12" }
}

fn to_bool(byte: u8, key: &str) -> Result<bool, LoadError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => {
            let what = format!("the bool {:?}", cut(key));
            Err(LoadError::OutOfRange { format: FORMAT, what, found: byte.into(), expected: "0 or 1" })
        }
    }
}

fn read_value(cursor: &mut Cursor<'_>, type_id: u32, key: &str) -> Result<Value, LoadError> {
    Ok(match type_id {
        0 => Value::U8(u8::from_le_bytes(cursor.array(key)?)),
        1 => Value::I8(i8::from_le_bytes(cursor.array(key)?)),
        2 => Value::U16(u16::from_le_bytes(cursor.array(key)?)),
        3 => Value::I16(i16::from_le_bytes(cursor.array(key)?)),
        4 => Value::U32(cursor.u32(key)?),
        5 => Value::I32(cursor.i32(key)?),
        6 => Value::F32(f32::from_le_bytes(cursor.array(key)?)),
        7 => Value::Bool(to_bool(u8::from_le_bytes(cursor.array(key)?), key)?),
        8 => Value::String(read_string(cursor, key)?),
        9 => Value::Array(read_array(cursor, key, 1)?),
        10 => Value::U64(cursor.u64(key)?),
        11 => Value::I64(cursor.i64(key)?),
        12 => Value::F64(f64::from_le_bytes(cursor.array(key)?)),
        _ => return Err(unknown_type(key, type_id)),
    })
}

/// Reads `len` numbers of `N` bytes each.
fn read_numbers<const N: usize, T>(
    cursor: &mut Cursor<'_>,
    len: u64,
    key: &str,
    from_le_bytes: fn([u8; N]) -> T,
) -> Result<Vec<T>, LoadError> {
    let len = cursor.count(len, N, key)?;
    (0..len).map(|_| cursor.array(key).map(from_le_bytes)).collect()
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, depth: usize) -> Result<Array, LoadError> {
    let type_id = cursor.u32(key)?;
    let len = cursor.u64(key)?;
    Ok(match type_id {
        0 => Array::U8(cursor.bytes(len, key)?.to_vec()),
        1 => Array::I8(read_numbers(cursor, len, key, i8::from_le_bytes)?),
        2 => Array::U16(read_numbers(cursor, len, key, u16::from_le_bytes)?),
        3 => Array::I16(read_numbers(cursor, len, key, i16::from_le_bytes)?),
        4 => Array::U32(read_numbers(cursor, len, key, u32::from_le_bytes)?),
        5 => Array::I32(read_numbers(cursor, len, key, i32::from_le_bytes)?),
        6 => Array::F32(read_numbers(cursor, len, key, f32::from_le_bytes)?),
        7 => Array::Bool(
            cursor.bytes(len, key)?.iter().map(|&byte| to_bool(byte, key)).collect::<Result<_, _>>()?,
        ),
        8 => {
            let len = cursor.count(len, 8, key)?;
            Array::String((0..len).map(|_| read_string(cursor, key)).collect::<Result<_, _>>()?)
        }
        9 if depth < MAX_ARRAY_DEPTH => {
            let len = cursor.count(len, 12, key)?;
            Array::Array((0..len).map(|_| read_array(cursor, key, depth + 1)).collect::<Result<_, _>>()?)
        }
        9 => {
            let what = format!("the nesting depth of {:?}", cut(key));
            let found = depth as i128 + 1;
            return Err(LoadError::OutOfRange { format: FORMAT, what, found, expected: "at most 4" });
        }
        10 => Array::U64(read_numbers(cursor, len, key, u64::from_le_bytes)?),
        11 => Array::I64(read_numbers(cursor, len, key, i64::from_le_bytes)?),
        12 => Array::F64(read_numbers(cursor, len, key, f64::from_le_bytes)?),
        _ => return Err(unknown_type(key, type_id)),
    })
}

fn read_alignment(metadata: &Metadata) -> Result<u32, LoadError> {
    let alignment = metadata.get("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if alignment.is_power_of_two() && alignment <= 1 << 20 {
        return Ok(alignment);
    }
    let what = "\"general.alignment\"".into();
    Err(LoadError::OutOfRange {
        format: FORMAT,
        what,
        found: alignment.into(),
        expected: "a power of two up to 2^20",
    })
}

/// A tensor description. Its offset is relative to the start of the data, which is not known yet.
struct TensorHeader {
    name: String,
    shape: Vec<u64>,
    /// How its values are stored, or why they cannot be read.
    stored: Result<StoredAs, String>,
    offset: u64,
}

fn read_tensors(cursor: &mut Cursor<'_>, n_tensors: u64, alignment: u32) -> Result<FileTensors, LoadError> {
    let n_tensors = cursor.count(n_tensors, MIN_TENSOR_BYTES, "the list of tensors")?;
    let headers =
        (0..n_tensors).map(|_| read_tensor_header(cursor, alignment)).collect::<Result<Vec<_>, _>>()?;
    let data_start = cursor.offset().next_multiple_of(alignment as usize);
    let available = (cursor.offset() + cursor.remaining()).saturating_sub(data_start);
    let mut tensors = FileTensors::default();
    for TensorHeader { name, shape, stored, offset } in headers {
        match stored {
            Ok(stored) => {
                let bytes = checked_bytes(&name, &shape, stored, offset, available)?;
                let bytes = data_start + bytes.start as usize..data_start + bytes.end as usize;
                let shape = shape.iter().map(|&extent| extent as usize).collect();
                tensors.push(TensorInfo { name, shape, dtype: stored.dtype(), bytes }, stored);
            }
            Err(dtype) => tensors.push_unread(UnreadTensor { name, dtype, shape }),
        }
    }
    let mut names = HashSet::new();
    if let Some(name) = tensors.names().find(|name| !names.insert(*name)) {
        return Err(LoadError::Duplicate { format: FORMAT, what: "tensor", name: name.to_owned() });
    }
    Ok(tensors)
}

fn read_tensor_header(cursor: &mut Cursor<'_>, alignment: u32) -> Result<TensorHeader, LoadError> {
    let name = read_string(cursor, "tensor name")?;
    let out_of_range = |what: &str, found: i128, expected| LoadError::OutOfRange {
        format: FORMAT,
        what: format!("{what} of tensor {:?}", cut(&name)),
        found,
        expected,
    };
    let rank = cursor.u32(&name)?;
    if rank > MAX_RANK {
        return Err(out_of_range("the rank", rank.into(), "at most 4"));
    }
    let mut shape = (0..rank).map(|_| cursor.u64(&name)).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let stored = StoredAs::of_ggml(cursor.u32(&name)?);
    let offset = cursor.u64(&name)?;
    if !offset.is_multiple_of(alignment.into()) {
        return Err(out_of_range("the offset", offset.into(), "a multiple of \"general.alignment\""));
    }
    Ok(TensorHeader { name, shape, stored, offset })
}

/// Where the bytes of a tensor are in the data, of which there are `available`.
fn checked_bytes(
    name: &str,
    shape: &[u64],
    stored: StoredAs,
    start: u64,
    available: usize,
) -> Result<Range<u64>, LoadError> {
    let end = start.saturating_add(stored.checked_size(name, shape)?);
    if end > available as u64 {
        return Err(LoadError::TensorRange { tensor: name.to_owned(), start, end, available });
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests;
